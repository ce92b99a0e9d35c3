"""Checks of the benches' options; imports nothing heavy, as workers import the scripts once more."""

from argparse import Namespace

from configs.errors import UserError


def require_positive(args: Namespace, *names: str) -> None:
    """Raise UserError for an option below 1."""
    for name in names:
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
