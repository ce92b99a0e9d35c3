"""Check a machine, a recipe and its dataset: `clipfeed doctor --config ctp/r3d18_ucf101`.

Prints one line per check: ok, warning or problem, and what to do. Exits with status 1 if there is a problem.
"""

import argparse
import importlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from configs.errors import UserError, shown
from configs.load import load
from configs.options import add_machine, add_overrides, overrides, require_recipe
from configs.words import counted
from trainers.diagnosis import Finding, Subject

CHECKS = ("packages", "gpu", "codecs", "machine", "dataset")
"""Modules of trainers.diagnosis, in the order of the report."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed doctor", description="Check this machine, a recipe and its data.")
    parser.add_argument("--config", metavar="YAML", help="a recipe: its dataset, workers and work dir are checked too")
    add_overrides(parser)
    add_machine(parser)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    require_recipe(args)
    findings = []
    for finding in examine(args):
        findings.append(finding)
        if not args.json:
            print(line(finding), flush=True)
    count = {state: sum(finding.state == state for finding in findings) for state in ("problem", "warning")}
    if args.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(", ".join(counted(number, state) for state, number in count.items()))
    return 1 if count["problem"] else 0


def line(finding: Finding) -> str:
    """Format a finding as one line, with what to do after an arrow."""
    do = f" -> {finding.do}" if finding.do else ""
    return f"{finding.state:<8} {finding.about:<14} {shown(finding.text + do)}"


def examine(args: argparse.Namespace) -> Iterator[Finding]:
    """Run all checks, even if some of them fail."""
    config: Any = None
    if args.config:
        try:
            config = load(args.config, overrides(args))
            yield Finding("ok", "recipe", f"{args.config}: {config.task}, {config.backbone}")
        except UserError as error:
            yield Finding("problem", "recipe", str(error), "mend the recipe, or leave out --config")
        except Exception as error:  # loading a recipe imports its task, hence DALI and torch
            yield broken("recipe", error)
    data_dir = config.data.root if config else args.data_dir
    subject = Subject(args.device, config, data_dir)
    for name in CHECKS:
        try:
            yield from importlib.import_module(f"trainers.diagnosis.{name}").check(subject)
        except Exception as error:
            yield broken(name, error)


def broken(about: str, error: Exception) -> Finding:
    """Report a check that could not run."""
    return Finding("problem", about, f"cannot be checked: {type(error).__name__}: {error}", "see the problems above")
