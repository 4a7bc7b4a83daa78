"""From a teacher and a corpus to a student."""
