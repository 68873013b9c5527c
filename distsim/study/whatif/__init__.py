"""What small changes to a scenario would gain, estimated from its critical path and checked."""
