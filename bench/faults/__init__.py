"""Faults injected into real runs, and what was left of them: `python -m bench.faults`."""
