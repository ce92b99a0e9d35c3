"""The ranks of one run, as torchrun starts them on one machine, in cheap processes (tests.helpers.processes)."""

import os
import pickle
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.helpers import processes
from trainers.engine.distributed import Ranks

ALONE = Ranks(torch.device("cpu"))
"""The ranks of a command in a single process."""


def free_port() -> int:
    """Return a TCP port of this machine that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_ranks(target: Callable[..., object], each: Sequence[Sequence[object]]) -> list[ForkServerProcess]:
    """Start `target(*args)` as one rank for each `args` of `each`."""
    size = str(len(each))
    shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        processes.start(target, *args, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, args in enumerate(each)
    ]


def on_ranks(function: Callable[..., Any], *args: object, size: int = 2) -> list[Any]:
    """Call `function(rank, *args)`, which makes a process group, on each of `size` ranks; return their results.

    Raises:
        RuntimeError: With the tracebacks of the ranks that raised.
    """
    pipes = [Pipe(duplex=False) for _ in range(size)]
    ranks = start_ranks(_answer, [(theirs, function, rank, *args) for rank, (_, theirs) in enumerate(pipes)])
    answers = []
    for ours, theirs in pipes:
        theirs.close()
        with suppress(EOFError):  # the rank was killed
            if ours.poll(processes.TIMEOUT):
                answers.append(pickle.loads(ours.recv_bytes()))
    statuses = processes.join(ranks, grace=1)
    failed = [error for error, _ in answers if error]
    if failed or len(answers) < size:
        raise RuntimeError("\n".join([f"{len(answers)} of {size} ranks answered, exit statuses {statuses}", *failed]))
    return [result for _, result in answers]


def two_ranks(script: Path, folder: Path, *args: object, grace: float = 20) -> tuple[list[int | None], str]:
    """Run a script as two ranks; return their exit statuses and rank 0's stdout and stderr.

    If one rank fails, the other is killed unless it ends within `grace` seconds. The output of rank N stays in
    folder/rankN.out.
    """
    outputs = [folder / f"rank{rank}.out" for rank in range(2)]
    for output in outputs:
        output.unlink(missing_ok=True)
    argv = [str(arg) for arg in (script, *args)]
    statuses = processes.join(start_ranks(processes.run_command, [(argv, output) for output in outputs]), grace)
    print(*(path.read_text() for path in outputs))  # pytest shows it when the test fails
    return statuses, outputs[0].read_text()


def start_agents(argv: Sequence[str], outputs: Sequence[Path], *, restarts: int = 0) -> list[ForkServerProcess]:
    """Start a torchrun agent for each of `outputs`: a node with two ranks of a script, which print to that file.

    The ranks are forks of their agent, because new interpreters would take 4 s each.
    """
    port = free_port()
    return [processes.start(_run_agent, port, len(outputs), restarts, [*argv], output) for output in outputs]


def _run_agent(port: int, nodes: int, restarts: int, argv: list[str], output: Path) -> None:
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=2,
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint=f"127.0.0.1:{port}",
        local_addr="127.0.0.1",
        max_restarts=restarts,
        start_method="fork",
    )
    elastic_launch(config, _run_rank)(argv, output)


def _run_rank(argv: list[str], output: Path) -> None:
    time.sleep(0.5 * int(os.environ["LOCAL_RANK"]))  # interpreters start apart, so one may read what another had stored
    processes.run_command(argv, output)


def _answer(pipe: Connection, function: Callable[..., object], *args: object) -> None:
    try:
        answer = ("", function(*args))
    except BaseException:  # the test must see any error
        answer = (traceback.format_exc(), None)
    pipe.send_bytes(pickle.dumps(answer))  # `send` would leave tensors in this process's memory
