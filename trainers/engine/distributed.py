"""The ranks of a run: torchrun's processes, or the single process of plain python."""

import ctypes
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from configs.environment import from_environment
from configs.errors import UserError
from dali_pipelines import limits
from dali_pipelines.progress import tell
from nets.distributed import all_gather
from trainers.engine.devices import choose_device

T = TypeVar("T")

TOLD_TIMEOUT = timedelta(seconds=30)
"""Time for all ranks to read that their devices differ."""
QUIET_S = 30.0
"""Seconds that a rank waits for the others before it says so: one may never have been started."""
PEER_TIMEOUT = timedelta(minutes=15)
"""A rank that waits this long for another ends the run. Longer than `train.timeout_s`: the hanging rank says more."""

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


@dataclass(frozen=True)
class Ranks:
    """This process and its peers. All ranks call a method at the same point of the program."""

    device: torch.device
    rank: int = 0
    world_size: int = 1

    def gather(self, values: Tensor) -> Tensor:
        """Gather each rank's `values` (K,) into float64 (world_size, K) on the CPU."""
        return all_gather(values.to(self.device, torch.float64)[None]).cpu()

    def gather_objects(self, mine: Any) -> list[Any]:
        """Gather each rank's object, in rank order."""
        gathered = [mine] * self.world_size
        if self.world_size > 1:
            distributed.all_gather_object(gathered, mine)
        return gathered

    def copy_buffers(self, net: nn.Module) -> None:
        """Broadcast rank 0's buffers: without SyncBN, each rank has its own batch norm statistics."""
        if self.world_size > 1:
            for buffer in net.buffers():
                distributed.broadcast(buffer, 0)

    def tell(self, *lines: str) -> None:
        """Print lines on rank 0; see `progress.tell`."""
        for line in lines if self.rank == 0 else ():
            tell(line)

    def note(self, notes: Iterable[str]) -> None:
        """Print notes for the user on rank 0."""
        self.tell(*(f"note: {note}" for note in notes))

    def on_rank0(self, make: Callable[[], T]) -> T:
        """Call `make()` on rank 0; return its result, or raise its UserError or OSError, on all ranks."""
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
        """Destroy the process group on all ranks, before rank 0 does long work alone.

        Ranks cannot communicate after this. If rank 0 destroyed the group later, the others would hang until then
        with NCCL, by its documentation, but not with gloo.
        """
        if self.world_size > 1:
            distributed.destroy_process_group()

    def require_same(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """Raise UserError naming all facts that differ between ranks, such as a node's copy of the dataset."""
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
                f"the ranks differ in {'; '.join(differences.values())}. Give every rank the same options, config, "
                "dataset and packages; of a dataset, digests of its index are compared"
            )


@contextmanager
def start(device: str, given: Mapping[str, object] | None = None) -> Iterator[Ranks]:
    """Join the ranks that torchrun or srun started, or run as a single one. `device` is auto, cpu or cuda.

    UserError if they cannot meet, if their options `given` differ, or if what the launcher says in the environment
    makes no sense.
    """
    world_size, rank = from_environment("WORLD_SIZE", 1, least=1), from_environment("RANK", 0)
    if "TORCHELASTIC_RUN_ID" in os.environ:  # have Linux end this process with torchrun: it would train on, unseen
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if rank >= world_size:
        raise UserError(
            f"environment variable RANK = {rank} is not below WORLD_SIZE = {world_size}: set both, as torchrun does, "
            "or unset both to run alone"
        )
    local_rank = _local_rank(world_size)
    where, note = choose_device(device, local_rank)
    if note and not local_rank:
        print(f"note: {note}", flush=True)
    if where.type == "cuda":
        torch.cuda.set_device(where)
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
    else:
        # torchrun sets one thread per process, plain python uses all cores: divide the cores in either case.
        torch.set_num_threads(max(1, limits.cores() // limits.local_ranks()))
    ranks = Ranks(device=where, rank=rank, world_size=world_size)
    if world_size == 1:
        yield ranks
        return
    where_to = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
    waiting = f"note: rank {rank} waits for the others, {world_size} in all, at {where_to}"
    notice = threading.Timer(QUIET_S, tell, [waiting])
    notice.daemon = True
    notice.start()
    try:
        store, *_ = next(distributed.rendezvous("env://", timeout=PEER_TIMEOUT))
        store = distributed.PrefixStore(_attempt(), store)
        _require_same_device(store, ranks)
        backend = "nccl" if where.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=PEER_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise UserError(
            f"the {world_size} ranks cannot meet at {where_to} ({reason}); on one machine start them with `torchrun "
            "--standalone`, which chooses a free port, or set another MASTER_PORT"
        ) from error
    finally:
        notice.cancel()
    ranks.require_same(lambda: given or {})
    try:
        yield ranks
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or "gloo/transport" in str(error):  # gloo has no exception class
            raise ConnectionError(
                f"another rank has ended or answers no more ({' '.join(str(error).split())}): what it printed says "
                "why. The same command goes on from the last checkpoint"
            ) from error
        raise
    if distributed.is_initialized():
        distributed.destroy_process_group()  # not after an error: it would wait for peers that may be gone


def _local_rank(world_size: int) -> int | None:
    """Return this process's number on its machine; None if it has peers and no launcher says which it is.

    Slurm's number is that of a GPU only if the task sees several: with --gpus-per-task=1, each sees its own as GPU 0.
    """
    if "LOCAL_RANK" in os.environ or world_size == 1:
        return from_environment("LOCAL_RANK", 0)
    if "SLURM_LOCALID" in os.environ and torch.cuda.device_count() != 1:
        return from_environment("SLURM_LOCALID", 0)
    return None


def _require_same_device(store: distributed.Store, ranks: Ranks) -> None:
    """Raise UserError if only some nodes have a GPU: NCCL and gloo would silently wait for each other."""
    keys = [f"device/{rank}" for rank in range(ranks.world_size)]
    store.set(keys[ranks.rank], f"{ranks.device.type} on {socket.gethostname()}")
    devices = [device.decode() for device in store.multi_get(keys)]  # waits for all
    for rank, device in enumerate(devices):
        if device.split()[0] != devices[0].split()[0]:
            store.set(f"told/{ranks.rank}", "")
            if ranks.rank == 0:  # its process holds the store: it stays until all have read
                with suppress(RuntimeError):
                    store.wait([f"told/{other}" for other in range(ranks.world_size)], TOLD_TIMEOUT)
            raise UserError(
                f"the ranks differ in their device: rank 0 has {devices[0]}, rank {rank} has {device}; with --device "
                "cuda the rank without a GPU says why, with --device cpu all train on the CPU"
            )


def _attempt() -> str:
    """Return a store prefix for this start by torchrun, which may be a restart.

    torchrun keeps its store across restarts, so without a prefix the ranks would find the addresses of the last start
    (https://github.com/pytorch/pytorch/issues/135712). Several nodes do not agree on the restart count: they need
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 instead.
    """
    one_node = os.environ.get("GROUP_WORLD_SIZE") == "1"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if one_node else "0"


def exit_status(status: int) -> int:
    """Return the exit status: 0 under torchrun, which would take any other for a crash and restart."""
    return 0 if "TORCHELASTIC_RUN_ID" in os.environ else status
