"""Boards of records: the board, its verdicts, its output formats, published scores, and the model card."""
