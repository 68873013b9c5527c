"""Which cluster size and which parallel plan: bounds, branch and bound, the Pareto front."""
