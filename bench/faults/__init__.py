"""Inject faults into real runs and check the results: `python -m bench.faults`."""
