"""Evaluators: an op graph in, the instants of its tasks out."""
