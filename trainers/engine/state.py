"""What every state dict is held to, whoever wrote it: plain keys and finite values."""

import re
from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError, first_names

WRAPPED = re.compile(r"^(?:(?:module|_orig_mod)\.)+|(?<=\.)_orig_mod\.")
"""What DDP puts before keys and torch.compile before those of any module, in either order and repeatedly."""


def plain(state: Mapping[str, Tensor], where: object) -> dict[str, Tensor]:
    """Return the state with the keys of the network alone. UserError where two become one."""
    named = {WRAPPED.sub("", key): value for key, value in state.items()}
    if len(named) < len(state):
        raise UserError(f"{where} has {len(state) - len(named)} tensors twice, with module. or _orig_mod. and without")
    return named


def require_finite(state: Mapping[str, Tensor], where: object) -> None:
    """Raise UserError that names the tensors with nan or infinity: no result of such a network means anything."""
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise UserError(
            f"{where} holds nan or infinity in {len(broken)} of {len(state)} tensors ({first_names(broken)}): the "
            "training that wrote it had failed; take an earlier checkpoint"
        )
