"""Checks that our intervals and tests hold their promised levels."""
