"""The data of tasks: the registry of tasks, their sources, file formats, archives and the hub."""
