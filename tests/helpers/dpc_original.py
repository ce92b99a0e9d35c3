"""Layers after the backbone of DPC and of CPC with a Transformer, on the originals' keys: specs/cpc_transformer.md."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.originals import State


def gru_step(state: State, x: Tensor, h: Tensor) -> Tensor:
    """Take one step of the recurrent unit, (B, 256, h, w)."""

    def gate(name: str, hidden: Tensor) -> Tensor:
        key = f"agg.cell_list.0.{name}_gate"
        return F.conv2d(torch.cat([x, hidden], dim=1), state[f"{key}.weight"], state[f"{key}.bias"])

    u, r = torch.sigmoid(gate("update", h)), torch.sigmoid(gate("reset", h))
    return (1 - u) * h + u * torch.tanh(gate("out", h * r))


def last_state(state: State, maps: Tensor) -> Tensor:
    """Run the recurrent unit over maps (B, N, 256, h, w); return its last state."""
    h = torch.zeros_like(maps[:, 0])
    for step in range(maps.shape[1]):
        h = gru_step(state, maps[:, step], h)
    return h


def contrast(state: State, maps: Tensor, pred_steps: int) -> tuple[Tensor, Tensor]:
    """Return loss and top-1 of predicting each position of the last maps among all of the batch; no dropout."""
    h, predicted = last_state(state, F.relu(maps)[:, :-pred_steps]), []
    for _ in range(pred_steps):
        p = F.relu(F.conv2d(h, state["network_pred.0.weight"], state["network_pred.0.bias"]))
        predicted.append(F.conv2d(p, state["network_pred.2.weight"], state["network_pred.2.bias"]))
        h = gru_step(state, F.relu(predicted[-1]), h)
    p, g = (x.movedim(2, -1).reshape(-1, 256) for x in (torch.stack(predicted, 1), maps[:, -pred_steps:]))
    scores, target = p @ g.T, torch.arange(len(p))
    return F.cross_entropy(scores, target), (scores.argmax(1) == target).float().mean()


def with_second_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy the recurrent unit's weights to its second name; `random_state` draws others for it."""
    return state | {
        key: state[key.replace("ConvGRUCell_00", "cell_list.0")].clone() for key in state if "ConvGRUCell_00" in key
    }
