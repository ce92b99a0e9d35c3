"""Numbers in environment variables, which torchrun and Slurm set for each process."""

import argparse
import os
from collections.abc import Mapping

from configs.errors import UserError
from configs.options import whole_number


def from_environment(name: str, default: int, *, least: int = 0, environment: Mapping[str, str] = os.environ) -> int:
    """Read a whole number from an environment variable, `default` if unset. UserError for text, or out of range."""
    try:
        return whole_number(least)(environment.get(name, str(default)))
    except argparse.ArgumentTypeError as error:
        way_out = "as torchrun and Slurm set it; unset it to go without"
        raise UserError(f"environment variable {name}: {error}, {way_out}") from None
