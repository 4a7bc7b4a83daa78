"""Kinds of task: how an example becomes inputs, outputs become predictions, and predictions scores."""
