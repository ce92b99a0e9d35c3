"""What the user types: parse the options, check them, and run. No library imports from here."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: its threads, if they spin, starve DALI's
