"""The commands, one file each; heavy imports are inside their functions, so that ``--help`` is quick."""
