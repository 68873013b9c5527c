"""Ways to send something smaller than gradients: one module each, on the base of `base`."""
