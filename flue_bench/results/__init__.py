"""Records on disk: store, read, compare and verify them."""
