"""Parallel strategies: what each divides, inserts and keeps in memory."""
