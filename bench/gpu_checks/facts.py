"""What the machine is: checks of `clipfeed doctor`."""

import importlib
from typing import Any

from bench.gpu_checks import Target
from trainers.diagnosis import Subject


def measure(item: str, target: Target) -> dict[str, Any]:
    """Report the findings on one subject; `machine` also has what every committed result has."""
    findings = [*importlib.import_module(f"trainers.diagnosis.{item}").check(Subject(target.device))]
    rows = {each.about: {"state": each.state, "found": each.text, "do": each.do} for each in findings}
    more: dict[str, Any] = importlib.import_module("bench.machine").machine() if item == "machine" else {}
    return {
        "ok": all(each.state != "problem" for each in findings),
        "answer": "; ".join(f"{each.about}: {each.text}" for each in findings),
        **more,
        "rows": rows,
    }
