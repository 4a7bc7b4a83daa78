"""The task ``registre-fr`` of flue-bench; all of it is in ``registre-fr.toml``."""
