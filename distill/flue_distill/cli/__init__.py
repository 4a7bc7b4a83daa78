"""One file a command; what is heavy is imported inside its function, so that ``--help`` is quick."""
