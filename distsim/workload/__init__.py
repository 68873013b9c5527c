"""Models as operators."""
