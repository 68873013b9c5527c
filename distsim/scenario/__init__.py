"""Scenarios: what a file may say, how it is read, and what its names stand for."""
