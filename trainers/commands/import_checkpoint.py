"""Import a published checkpoint: `clipfeed import IN --from ctp --out OUT.pt`.

OUT.pt is a checkpoint of step 0, which finetune, test and other commands accept like one of a run. The command prints
how the keys of IN were mapped, and why some were left out.
"""

import argparse
import importlib
import pkgutil
import re
from collections import Counter, defaultdict
from pathlib import Path

from configs.errors import UserError
from configs.load import dump
from configs.words import counted
from nets.classifier import Classifier
from trainers.engine import checkpoint
from trainers.weights import imports, sha256_of
from trainers.weights.imports import Imported, network
from trainers.weights.original import read_original

SYSTEMS = sorted(module.name for module in pkgutil.iter_modules(imports.__path__))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed import", description="Convert a published checkpoint.")
    parser.add_argument("checkpoint", type=Path, metavar="IN", help="a file of torch.save, or a .safetensors")
    parser.add_argument("--from", dest="system", choices=SYSTEMS, required=True, help="whose code wrote it")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT.pt", help="the checkpoint to write")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="names of classes, one a line, as in classInd.txt")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def main(argv: list[str]) -> None:
    parser = make_parser()
    args = parser.parse_args(argv)
    if args.out.suffix != ".pt":
        parser.error(f"--out {args.out}: must end in .pt")
    if args.out.resolve() == args.checkpoint.resolve():
        raise UserError(f"--out {args.out} is the original itself: choose another name")
    state = read_original(args.checkpoint)
    try:
        imported: Imported = importlib.import_module(f"{imports.__name__}.{args.system}").convert(state)
        net = network(imported)
        checkpoint.require_finite({key: state[key] for key in imported.used}, "the state dict")
    except UserError as error:
        raise UserError(f"{args.checkpoint}: {error}") from None
    except (IndexError, TypeError, ValueError, RuntimeError) as error:  # of tensors with other axes than the original's
        what = f"its tensors do not have the shapes of {args.system}'s ({' '.join(str(error).split())})"
        raise UserError(f"{args.checkpoint}: {what}; choose another --from") from error
    config = imported.config
    outputs = net.linear.out_features if config.task == "recognition" and isinstance(net, Classifier) else 0
    content = {
        "step": 0,
        "identity": {"task": config.task, "backbone": config.backbone},
        "config": dump(config),
        "classes": read_classes(args.classes, outputs) if args.classes else [],
        "model": net.state_dict(),
        "imported": {"from": args.system, "sha256": sha256_of(args.checkpoint)},
    }
    checkpoint.write(args.out, content)
    print(table(imported))
    what = f"{config.task} with {counted(outputs, 'class', 'classes')}" if outputs else config.task
    if isinstance(net, Classifier) and not outputs:
        what = "a backbone without a classifier"
    print(f"wrote {args.out}: {what}, {config.backbone}")


def read_classes(path: Path, outputs: int) -> list[str]:
    """Read `outputs` class names, one per line, maybe numbered as in classInd.txt. UserError for another number."""
    if not outputs:
        raise UserError(f"--classes {path}: the checkpoint is no classifier and has no classes to name")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise UserError(f"--classes {path}: not a text file; expected one name a line") from None
    if len(names) != outputs:
        named = counted(len(names), "name")
        raise UserError(f"--classes {path} has {named}, the classifier has {counted(outputs, 'class', 'classes')}")
    numbered = [re.fullmatch(r"(\d+)[\s,]+(.+)", name) for name in names]
    numbers = [int(match[1]) for match in numbered if match]
    in_order = numbers in (list(range(outputs)), list(range(1, outputs + 1)))
    return [match[2] for match in numbered if match] if in_order else names


def table(imported: Imported) -> str:
    """Count the mapped keys by the first part of their names, and those left out with the reason."""
    used = Counter((theirs.split(".")[0], ours.split(".")[0]) for theirs, ours in imported.used.items())
    left = defaultdict[str, list[str]](list)
    for theirs, reason in imported.left.items():
        left[theirs.split(".")[0]].append(reason)
    lines = [f"{counted(count, 'key', spec='6')} of {theirs} -> {ours}" for (theirs, ours), count in used.items()]
    for theirs, reasons in left.items():
        and_so_on = ", and so on" * (len(set(reasons)) > 1)
        lines.append(f"{counted(len(reasons), 'key', spec='6')} of {theirs} left out: {reasons[0]}{and_so_on}")
    changes = f" with {', '.join(imported.changes)}" if imported.changes else ""
    return "\n".join([*lines, f"recipe: configs/{imported.recipe}{changes}"])
