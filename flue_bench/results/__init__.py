"""Records on disk: kept, read, compared, verified."""
