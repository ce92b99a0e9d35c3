"""A task that logs what it is given, sample by sample: `task: bench.faults.logged`."""
