"""Check that everything works on this GPU, and how fast: `python -m bench.gpu_report --out DIR`, eleven minutes.

Each part runs in its own process with a time limit per item: a crash or hang loses only that item. The same command
resumes. bench/README.md has the rest.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.gpu_checks import EXIT_GPU_LOST, ROOT
from bench.gpu_checks.items import select_items, time_limit
from bench.gpu_checks.page import line, page
from configs.errors import UserError, run_cli
from configs.options import number
from configs.words import counted
from dali_pipelines.store.files import write_file, write_json

WORKER = [sys.executable, "-m", "bench.gpu_checks"]
ENDS_WITHIN = 10  # seconds from a process's last item to its end
GRACE_S = 3  # for a process to dump the tracebacks of its threads
LAST_LINES = 15
MAX_HANGS = 2  # of one part: more would take time from the others


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="gpu_report.py", description="Does everything work on this GPU, and how fast?"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the report")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal (cuda)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some parts (decode) or items (decode.repeat)")
    parser.add_argument("--minutes", type=number(0), default=11, help="begin and wait for nothing after that (11)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/gpu_report"), help="videos are kept here")
    args = parser.parse_args(argv)
    deadline = time.monotonic() + 60 * args.minutes
    report = Report(args.out, args.device)
    names = select_items(args.only)
    before = set(report.items)
    for again in (False, True):
        for part in dict.fromkeys(name.split(".")[0] for name in names):
            waiting = [name for name in names if name.split(".")[0] == part and (name in before) == again]
            waiting = [name for name in waiting if report.items.get(name, {}).get("status") != "done"]
            hangs = 0
            while waiting and hangs < MAX_HANGS and time.monotonic() < deadline:
                left = run_process(waiting, report, args, deadline)
                ended = waiting[: len(waiting) - len(left)]
                hangs += any(report.items[name]["status"] == "timed out" for name in ended)
                waiting = left
    left = [name for name in names if name not in report.items]
    if left:
        print(f"not run: {counted(len(left), 'item')}; the same command goes on")
    report.save()


class Report:
    """The records of all items, on disk after every change."""

    def __init__(self, folder: Path, device: str) -> None:
        self.file, self.log = folder / "gpu_report.json", folder / "gpu_report.log"
        self.device, self.items = device, dict[str, dict[str, Any]]()
        folder.mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            old = json.loads(self.file.read_text())
            if old["device"] != device:
                raise UserError(f"{folder} holds a report of --device {old['device']}: choose another folder")
            self.items = old["items"]

    def add(self, name: str, record: dict[str, Any]) -> None:
        self.items[name] = record
        print(f"{name:<26} {line(record)}  [{record['seconds']:.1f} s]", flush=True)
        self.save()

    def save(self) -> None:
        content = {"device": self.device, "items": self.items}
        write_json(self.file, content)
        write_file(self.file.with_suffix(".md"), page(self.device, self.items))


def run_process(names: list[str], report: Report, args: argparse.Namespace, deadline: float) -> list[str]:
    """Run items of one part in order in one process, until one crashes or times out; return the remaining items."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # as in trainers/commands: spinning threads of torch starve DALI's
    }
    options = ["--device", args.device, "--work-dir", str(args.work_dir.resolve())]
    waiting = list(names)
    with tempfile.TemporaryDirectory() as folder, report.log.open("ab") as log:
        began = log.tell()
        process = subprocess.Popen(
            [*WORKER, *names, *options, "--results", folder],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            since = time.monotonic()
            while waiting:
                ended = process.poll()  # before looking for files, so none is missed
                while waiting and (file := Path(folder, f"{waiting[0]}.json")).is_file():
                    report.add(waiting.pop(0), json.loads(file.read_text()))
                    since = time.monotonic()
                took = time.monotonic() - since
                if not waiting or time.monotonic() > deadline or ended == EXIT_GPU_LOST:
                    break
                if ended is not None:
                    how = signal.Signals(-ended).name if ended < 0 else f"status {ended}"
                    record = {"status": "crashed", "error": f"{how}\n{tail(report.log, began)}"}
                    report.add(waiting.pop(0), record | {"seconds": round(took, 1)})
                    break
                if took > time_limit(waiting[0]):
                    stop(process)
                    record = {"status": "timed out", "error": f"after {took:.0f} s\n{tail(report.log, began)}"}
                    report.add(waiting.pop(0), record | {"seconds": round(took, 1)})
                    break
                time.sleep(0.1)
            if not waiting:
                process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            print(f"the process of {names[-1]} does not end by itself", flush=True)
        finally:
            stop(process)
    return waiting


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started with `start_new_session=True`, and its descendants.

    With PYTHONFAULTHANDLER set, it first dumps the tracebacks of its threads.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # one stuck in the driver cannot be killed: do not wait for it
        process.wait(GRACE_S)


def tail(log: Path, began: int) -> str:
    """Return the last lines that a process wrote."""
    with log.open("rb") as file:
        file.seek(began)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-LAST_LINES:])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # run the `finally` blocks: no orphan may hold the GPU
    run_cli(main)
