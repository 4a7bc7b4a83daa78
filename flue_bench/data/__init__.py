"""Where examples come from: which tasks there are, their sources, file formats, archives and the hub."""
