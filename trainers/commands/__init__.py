"""The commands: each parses its options, checks them, and runs. No library imports from here."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: spinning threads starve DALI's
