"""The ranks of a run: torchrun's processes, or the one process of plain python."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from configs.errors import UserError
from dali_pipelines import limits
from dali_pipelines.progress import tell
from nets.distributed import all_gather
from trainers.engine.devices import choose_device

TOLD_TIMEOUT = timedelta(seconds=30)
"""Time for all ranks to learn that they do not match."""

T = TypeVar("T")

PEER_TIMEOUT = timedelta(minutes=15)
"""A rank that waits this long for another ends the run. Longer than `train.timeout_s`: the one that hangs says more."""


@dataclass(frozen=True)
class Ranks:
    """This process among all of the run. All ranks call a method at the same point of the program."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    def gather(self, values: Tensor) -> Tensor:
        """Return float64 (world_size, K), on the CPU, from each rank's `values` (K,)."""
        return all_gather(values.to(self.device, torch.float64)[None]).cpu()

    def gather_objects(self, mine: Any) -> list[Any]:
        """Return each rank's object, in rank order."""
        gathered = [mine] * self.world_size
        if self.world_size > 1:
            distributed.all_gather_object(gathered, mine)
        return gathered

    def copy_buffers(self, net: nn.Module) -> None:
        """Copy rank 0's buffers to all ranks: without SyncBN each has batch norm statistics of its own."""
        if self.world_size > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, 0)

    def tell(self, *lines: str) -> None:
        """Print lines on rank 0; see `progress.tell`."""
        for line in lines if self.rank == 0 else ():
            tell(line)

    def note(self, notes: Iterable[str]) -> None:
        """Print what the user should know, on rank 0."""
        self.tell(*(f"note: {note}" for note in notes))

    def on_rank0(self, make: Callable[[], T]) -> T:
        """Return on all ranks what `make()` returns on rank 0. Its UserError or OSError is raised on all."""
        if self.world_size == 1:
            return make()
        result: list[Any] = [None, None]
        if self.rank == 0:
            try:
                result[0] = make()
            except (UserError, OSError) as error:
                result[1] = error
        distributed.broadcast_object_list(result)
        if result[1] is not None:
            raise result[1]
        made: T = result[0]
        return made

    def end_group(self) -> None:
        """End the process group on all ranks, before rank 0 does alone what may take long.

        Ranks cannot communicate after this. If rank 0 ended the group later, NCCL's other ranks would, by its
        documentation, hang until then; gloo's would not.
        """
        if self.world_size > 1:
            distributed.destroy_process_group()

    def require_same(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """Raise UserError that names all facts in which ranks differ, such as another copy of the dataset on a node."""
        if self.world_size == 1:
            return
        gathered: list[tuple[str, Mapping[str, object]]] = self.gather_objects((socket.gethostname(), facts()))
        first, differences = gathered[0][1], {}
        for rank, (host, theirs) in reversed([*enumerate(gathered)]):
            for name in {**first, **theirs}:
                ours, other = first.get(name), theirs.get(name)
                if ours != other:
                    differences[name] = f"{name}: {ours!r} on rank 0, {other!r} on rank {rank} ({host})"
        if differences:
            raise UserError(
                f"the ranks differ in {'; '.join(differences.values())}. Give every rank the same config, dataset and "
                "packages; of a dataset, digests of its index are compared"
            )


@contextmanager
def start(device: str) -> Iterator[Ranks]:
    """Join the ranks that torchrun started, or be the only one. `device` is auto, cpu or cuda."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    where, note = choose_device(device, local_rank)
    if note and local_rank == 0:
        print(f"note: {note}", flush=True)
    if where.type == "cuda":
        torch.cuda.set_device(where)
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
    else:
        # torchrun sets one thread per process, plain python takes all cores: divide them in either case.
        torch.set_num_threads(max(1, limits.cores() // limits.local_ranks()))
    ranks = Ranks(device=where, rank=int(os.environ.get("RANK", "0")), world_size=world_size)
    if world_size == 1:
        yield ranks
        return
    try:
        store, *_ = next(distributed.rendezvous("env://", timeout=PEER_TIMEOUT))
        store = distributed.PrefixStore(_attempt(), store)
        _require_same_device(store, ranks)
        backend = "nccl" if where.type == "cuda" else "gloo"
        distributed.init_process_group(
            backend, store=store, rank=ranks.rank, world_size=world_size, timeout=PEER_TIMEOUT
        )
    except (RuntimeError, ValueError) as error:
        where_to = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        reason = " ".join(str(error).split("\n")[0].split())
        raise UserError(
            f"the {world_size} ranks cannot meet at {where_to} ({reason}); on one machine start them with `torchrun "
            "--standalone`, which chooses a free port, or set another MASTER_PORT"
        ) from error
    try:
        yield ranks
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or "gloo/transport" in str(error):  # gloo has no error of its own
            raise ConnectionError(
                f"another rank has ended or answers no more ({' '.join(str(error).split())}): what it printed says "
                "why. The same command goes on from the last checkpoint"
            ) from error
        raise
    if distributed.is_initialized():
        distributed.destroy_process_group()  # not after an error: it would wait for peers that may be gone


def _require_same_device(store: distributed.Store, ranks: Ranks) -> None:
    """Raise UserError when only some nodes have a GPU: NCCL and gloo would wait for each other in silence."""
    keys = [f"device/{rank}" for rank in range(ranks.world_size)]
    store.set(keys[ranks.rank], f"{ranks.device.type} on {socket.gethostname()}")
    devices = [device.decode() for device in store.multi_get(keys)]  # waits for all
    for rank, device in enumerate(devices):
        if device.split()[0] != devices[0].split()[0]:
            store.set(f"told/{ranks.rank}", "")
            if ranks.rank == 0:  # whose process holds the store: it stays until all have read
                with suppress(RuntimeError):
                    store.wait([f"told/{other}" for other in range(ranks.world_size)], TOLD_TIMEOUT)
            raise UserError(
                f"the ranks differ in their device: rank 0 has {devices[0]}, rank {rank} has {device}; with --device "
                "cuda the rank without a GPU says why, with --device cpu all train on the CPU"
            )


def _attempt() -> str:
    """Return a name for this start of the ranks by torchrun, which may be one of its restarts.

    torchrun keeps its store between them, so that without a name the ranks would find the addresses of the start before
    (https://github.com/pytorch/pytorch/issues/135712). Nodes do not agree on the count of restarts: they need
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 instead.
    """
    one_node = os.environ.get("GROUP_WORLD_SIZE") == "1"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if one_node else "0"


def exit_status(status: int) -> int:
    """Return the status to exit with: 0 under torchrun, which takes any other for a crash, and would restart."""
    return 0 if "TORCHELASTIC_RUN_ID" in os.environ else status
