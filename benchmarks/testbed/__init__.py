"""Real PyTorch over gloo between network namespaces of one machine, predicted by distsim."""
