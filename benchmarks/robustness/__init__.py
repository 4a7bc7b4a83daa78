"""Faults, and what is lost by them."""
