"""Many predictions: validation against published runs."""
