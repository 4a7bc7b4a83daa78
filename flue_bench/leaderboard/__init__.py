"""From records to a table: ``board`` decides what may stand beside what, ``render`` draws it."""
