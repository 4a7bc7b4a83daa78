"""flue-bench: how good is a French language model, and how much of its teacher does a student keep?"""

__version__ = "0.1.0"
