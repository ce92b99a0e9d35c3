"""Rounds of our loader, of its ceilings and of its peers: what `bench/loader_throughput.py` measures."""
