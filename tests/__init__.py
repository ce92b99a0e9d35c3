"""Set the variables that torch reads on import; see `tests.helpers.fixtures.one_thread`."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in trainers/commands
os.environ.setdefault("OMP_NUM_THREADS", "1")
