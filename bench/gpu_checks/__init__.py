"""The checks of `bench/gpu_report.py`, one module per part; each has `measure(item, target)`.

`python -m bench.gpu_checks` is the process that the report starts for the items of one part.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXIT_GPU_LOST = 75
"""Exit status of a worker whose GPU no longer answers: the remaining items need a fresh process."""


class Unavailable(Exception):
    """The machine cannot answer the question: it has no GPU, or no driver."""


@dataclass(frozen=True)
class Target:
    """The device to check and the folder to work in.

    device: "cuda", or "cpu" for a rehearsal of minimal size.
    work_dir: contains the videos that the items share.
    """

    device: str
    work_dir: Path

    @property
    def rehearsal(self) -> bool:
        return self.device == "cpu"

    @property
    def device_id(self) -> int | None:
        """Return the GPU's number for DALI, None for a CPU."""
        return None if self.rehearsal else 0


def need_gpu() -> None:
    """Raise Unavailable unless torch sees a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise Unavailable(f"no GPU: torch {torch.__version__} sees none; --device cpu rehearses without one")


def gpu_answers() -> bool:
    """Tell whether this process can still use its GPU: after an illegal access, for example, every call fails."""
    import torch

    try:
        torch.zeros(1, device="cuda").item()
    except RuntimeError:
        return False
    return True
