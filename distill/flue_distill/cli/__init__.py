"""One file per command; heavy imports are inside its function, so that ``--help`` is quick."""
