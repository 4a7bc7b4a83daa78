"""The tasks of flue-bench, one TOML file each, and the readers of upstream formats."""
