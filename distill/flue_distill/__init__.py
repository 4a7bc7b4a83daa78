"""Distillation for flue-bench: how to make a smaller model out of a teacher, as a plugin of the engine."""
