"""How long work takes: kernels on a device, and what a software stack makes of them."""
