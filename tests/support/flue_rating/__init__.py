"""A kind of task as somebody else's package brings it: tests install a copy of this folder, and import none of it."""
