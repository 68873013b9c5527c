"""Training steps on one GPU, measured with plain PyTorch and predicted: docs/gpu.md."""
