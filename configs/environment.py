"""Numbers in environment variables, which torchrun and Slurm set for each process."""

import os
from collections.abc import Mapping

from configs.errors import UserError


def whole(name: str, default: int, *, least: int = 0, environment: Mapping[str, str] = os.environ) -> int:
    """Return the whole number in an environment variable, `default` if it is not set; UserError for anything else."""
    text = environment.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise UserError(
            f"environment variable {name} = {text!r}: expected a whole number of at least {least}, as torchrun and "
            "Slurm set it; unset it to go without"
        )
    return int(text)
