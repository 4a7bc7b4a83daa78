"""Distillation for flue-bench: makes a smaller model from a teacher, as a plugin of the engine."""
