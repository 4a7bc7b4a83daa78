"""Models and how they are fine-tuned: device, encoding, batches, optimiser, the loop, checkpoints."""
