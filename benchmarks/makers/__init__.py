"""What makes committed files: embedded models and texts, and pages under ``results/``."""
