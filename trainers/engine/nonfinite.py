"""A loss or gradient that is not finite: the samples to blame, pictures of them, and the state to restore."""

from pathlib import Path

import torch
from torch import Tensor

from dali_pipelines.progress import tell
from dali_pipelines.store.files import replacing
from nets.tasks import Pretext
from trainers.engine.pictures import draw
from trainers.engine.run import Batch, Run
from trainers.engine.work_dir import NONFINITE


def explain(run: Run, step: int, grad_norm: float, seen: list[tuple[Batch, Tensor]]) -> str:
    """Name the samples to blame, on all ranks.

    These are samples with inputs or targets that are not finite; else those of micro-steps with a loss that is not
    finite; else, if only the gradient overflowed, all samples of the step. `seen` has the batch and the loss of each
    micro-step on this rank.
    """
    mine = [(batch["index"].tolist(), bool(loss.isfinite()), _nonfinite(batch)) for batch, loss in seen]
    gathered = [micro_step for of_rank in run.ranks.gather_objects(mine) for micro_step in of_rank]
    blamed = [rows for rows, finite, _ in gathered if not finite]
    nonfinite: dict[int, str] = {row: name for *_, found in gathered for row, name in found.items()}
    what = "the loss is not finite" if blamed else "the loss is finite, its gradient is not"
    if nonfinite:
        what = f"some samples have nan or infinity in {', '.join(sorted(set(nonfinite.values())))}"
    rows = list(nonfinite) or [row for rows in blamed or [rows for rows, *_ in gathered] for row in rows]
    named = ", ".join(f"{row} {run.name_of(row)}" for row in rows)
    return f"step {step + 1}: {what} (gradient norm {grad_norm}). Its videos, by dataset row: {named}"


def leave_pictures(run: Run, step: int, seen: list[tuple[Batch, Tensor]]) -> None:
    """Save pictures of this rank's blamed samples to the work dir, one per micro-step."""
    for number, (batch, loss) in enumerate(seen):
        rows = _nonfinite(batch)
        blamed = torch.tensor([not rows or row in rows for row in batch["index"].tolist()])
        if rows or not loss.isfinite():
            name = f"step_{step + 1:08d}_rank_{run.ranks.rank}_{number}.png"
            chosen = {key: values[blamed.to(values.device)] for key, values in batch.items()}
            try:
                with replacing(Path(run.config.work_dir, NONFINITE, name)) as part:
                    draw(run.loader, chosen, ago=len(seen) - 1 - number).save(part, "PNG")
            except OSError as error:  # the names of the samples are still reported
                tell(f"warning: cannot write a picture of these samples: {error}")


def _nonfinite(batch: Batch) -> dict[int, str]:
    """Map dataset rows with values that are not finite to the tensor's name."""
    found: dict[int, str] = {}
    for name, values in batch.items():
        finite_B = values.reshape(len(values), -1).isfinite().all(1).cpu()
        found |= dict.fromkeys(batch["index"][~finite_B].tolist(), name)
    return found


def untrained_state(net: Pretext) -> dict[str, Tensor]:
    """Copy the state that only the forward pass changes, such as queues and statistics."""
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    return {name: value.clone() for name, value in net.state_dict().items() if name not in trained}
