"""Whether our intervals and tests keep what they promise."""
