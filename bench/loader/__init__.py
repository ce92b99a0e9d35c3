"""Measure rounds of our loader, its ceilings and its peers, for `bench/loader_throughput.py`."""
