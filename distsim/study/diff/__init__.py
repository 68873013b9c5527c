"""What changed between two scenarios or two results, and what each change did."""
