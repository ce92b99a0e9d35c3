"""What every state dict must have, whoever wrote it: plain keys and finite values."""

import re
from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError, first_names

WRAPPED = re.compile(r"^(?:(?:module|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
"""What DDP puts before all keys, and torch.compile before those of any module, in any order and number."""


def plain(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """Return the state without what DDP and torch.compile put before its keys. UserError where two become one."""
    named = {WRAPPED.sub("", key): value for key, value in state.items()}
    if len(named) < len(state):
        raise UserError(f"{where} has {len(state) - len(named)} tensors twice, with module. or _orig_mod. and without")
    return named


def require_finite(state: Mapping[str, Tensor], where: object) -> None:
    """Raise UserError that names tensors with nan or infinity: the results of such a network mean nothing."""
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise UserError(
            f"{where} holds nan or infinity in {len(broken)} of {len(state)} tensors ({first_names(broken)}): the "
            "training that wrote it had failed; take an earlier checkpoint"
        )
