"""Worked examples of a textbook, each a scenario, against the book's numbers."""
