"""Readers of what other tools write."""
