"""Traces of real runs and of other simulators: PyTorch's profiler, and Chakra."""
