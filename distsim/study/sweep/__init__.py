"""Sweeps: every combination of some values of a scenario, and how it scales."""
