"""Measure the named items one after the other and leave a JSON file of each."""

import argparse
import importlib
import json
import resource
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.gpu_checks import EXIT_GPU_LOST, Target, Unavailable, gpu_answers, need_gpu
from bench.gpu_checks.page import is_ok
from dali_pipelines.store.files import write_file


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench.gpu_checks", description=__doc__)
    parser.add_argument("items", nargs="+", metavar="PART.ITEM")
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True, metavar="DIR", help="gets PART.ITEM.json")
    args = parser.parse_args(argv)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # crashes are reported; core dumps of many GB are not needed
    target = Target(args.device, args.work_dir)
    for name in args.items:
        print(f"--- {name}", flush=True)
        record = run_item(name, target)
        suspect = not target.rehearsal and record["status"] != "unavailable" and not is_ok(record)
        broken = suspect and not gpu_answers()
        write_file(args.results / f"{name}.json", json.dumps(record))
        if broken:
            return EXIT_GPU_LOST
    return 0


def run_item(name: str, target: Target) -> dict[str, Any]:
    """Measure an item; return its status with the result or the error. It never raises."""
    part, item = name.split(".", 1)
    began = time.perf_counter()
    try:
        if not target.rehearsal and part != "facts":
            need_gpu()
        # Imported here: a missing library fails only the parts that need it.
        result = importlib.import_module(f"bench.gpu_checks.{part}").measure(item, target)
        record = {"status": "done", "result": result}
        json.dumps(record)
    except Unavailable as reason:
        record = {"status": "unavailable", "error": str(reason)}
    except Exception as error:
        traceback.print_exc()
        record = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    record["seconds"] = round(time.perf_counter() - began, 1)
    record["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    return record


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
