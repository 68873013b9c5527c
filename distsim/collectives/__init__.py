"""Who sends what to whom in a collective, and the closed forms of its cost."""
