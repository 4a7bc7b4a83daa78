"""Measurements, and what makes committed files; from the checkout: ``python -m benchmarks.peers.speed --help``."""
