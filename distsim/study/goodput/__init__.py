"""How long a training takes with failures, and how often to take checkpoints."""
