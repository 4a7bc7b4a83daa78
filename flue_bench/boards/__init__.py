"""Records side by side: the board, its evidence, its renderings, published scores, and the model card."""
