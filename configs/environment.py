"""Numbers in environment variables, which torchrun and Slurm set for each process."""

import os
from collections.abc import Mapping

from configs.convert import LARGEST
from configs.errors import UserError


def whole_number(name: str, default: int, *, minimum: int = 0, environment: Mapping[str, str] = os.environ) -> int:
    """Read a whole number from an environment variable, `default` if unset. UserError for text, or out of range."""
    text = environment.get(name, str(default))
    if not text.isdecimal() or not minimum <= int(text) <= LARGEST:
        raise UserError(
            f"environment variable {name} = {text!r}: expected a whole number from {minimum} to {LARGEST}, as torchrun "
            "and Slurm set it; unset it to go without"
        )
    return int(text)
