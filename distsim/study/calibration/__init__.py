"""Calibration: measurements that users have, and what follows from them about a cluster."""
