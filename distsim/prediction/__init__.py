"""What a step takes, where its time goes, and whether it fits."""
