"""What a run costs, how that grows, and where the time goes."""
