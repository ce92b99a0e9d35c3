"""Requirements on every state dict, whoever wrote it: plain keys and finite values."""

import re
from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError, first_names
from configs.words import counted

WRAPPED = re.compile(r"^(?:(?:module|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
"""Prefixes that DDP adds to all keys, and torch.compile to those of any module, in any order and number."""


def plain(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """Strip the prefixes of DDP and torch.compile from all keys. UserError if two keys become one."""
    named = {WRAPPED.sub("", key): value for key, value in state.items()}
    if len(named) < len(state):
        count = counted(len(state) - len(named), "tensor")
        raise UserError(f"{where} has {count} twice, with and without the prefix module. or _orig_mod.")
    return named


def require_finite(state: Mapping[str, Tensor], where: object) -> None:
    """Raise UserError naming tensors with nan or infinity: results of such a network mean nothing."""
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise UserError(
            f"{where} holds nan or infinity in {len(broken)} of {counted(len(state), 'tensor')} "
            f"({first_names(broken)}): the training that wrote it had failed; take an earlier checkpoint"
        )
