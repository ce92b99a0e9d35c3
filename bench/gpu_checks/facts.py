"""Report what `clipfeed doctor` finds on the machine, the packages and the GPU."""

import importlib
from typing import Any

from bench.gpu_checks import Target
from bench.machine import machine
from trainers.diagnosis import Subject


def measure(item: str, target: Target) -> dict[str, Any]:
    """Report the findings on one subject; `machine` also has what every committed result has."""
    findings = [*importlib.import_module(f"trainers.diagnosis.{item}").check(Subject(target.device))]
    rows = {each.about: {"state": each.state, "found": each.text, "do": each.do} for each in findings}
    more = machine() if item == "machine" else {}
    return {
        "ok": all(each.state != "problem" for each in findings),
        "answer": "; ".join(f"{each.about}: {each.text}" for each in findings),
        **more,
        "rows": rows,
    }
