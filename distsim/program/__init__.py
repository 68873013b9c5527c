"""Where workload, plan and hardware meet: the op graph of one step."""
