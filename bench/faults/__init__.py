"""Kill real runs and workers, and compare the results with undisturbed ones: `python -m bench.faults`."""
