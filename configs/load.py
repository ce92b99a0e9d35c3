"""Read a `Config` from YAML and --set, strictly: errors name the key that is wrong; and write it back."""

import dataclasses
import math
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from configs.errors import UserError
from configs.nearest import nearest, nearest_key
from configs.paths import expand_paths
from configs.plugins import import_task, require_trusted, trust
from configs.recipes import find
from configs.schema import Config, Recognition
from configs.speed import SUFFIX, speed_settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Section = TypeVar("Section", bound="DataclassInstance")

RENAMED = {"normalisation": "normalization", "grey_per_frame": "gray_per_frame"}
"""Old key -> new key, for recipes and checkpoints from before the spelling was American."""

TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class _Source:
    """Where a recipe comes from, for messages."""

    name: str
    set_keys: Sequence[str]
    """Dotted keys that --set has changed."""
    keys: Sequence[str]
    """All dotted keys that there are."""

    def locate(self, key: str) -> str:
        """Return "file: key" or "--set key"."""
        dotted = key.partition(" ")[0]  # a failed check says "key = value must be ..."
        overridden = any(dotted == name or dotted.startswith(f"{name}.") for name in self.set_keys)
        overridden |= any(name.startswith(f"{dotted}.") for name in self.set_keys) and dotted not in self.keys
        return f"--set {key}" if overridden else f"{self.name}: {key}"


class _Loader(yaml.SafeLoader):
    """YAML without dates and duplicate keys; only true and false are booleans (`amp: off` is text)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.append(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    char: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":bool", ":timestamp"))]
    for char, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF"))


class _Dumper(yaml.SafeDumper):
    """Block style, except for tuples."""


_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe from a YAML file and apply overrides.

    Args:
        path: a file, or from any folder one of our recipes: "ctp/demo", "configs/ctp/demo.yaml". "+speed" at its end
            selects its settings for speed.
        overrides: "key.sub=value" with a YAML value; the last one of a key wins. A section, as in "data={root: x}",
            changes the keys that it names.

    Raises:
        UserError: names the file (or --set), the dotted key, the value and what was expected.
    """
    name = str(path)
    if name.endswith(SUFFIX) and not Path(path).is_file():
        base = name.removesuffix(SUFFIX)
        changes = [f"{key}={value}" for key, value in speed_settings(load(base)).items()]
        return load(base, [*changes, *overrides])
    path = find(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the config {str(path)!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file; expected a YAML recipe, as `clipfeed recipe` copies one") from None
    return parse(text, source=str(path), overrides=overrides)


def parse(text: str, *, source: str, overrides: Sequence[str] = (), own: bool = True) -> Config:
    """Read a recipe from text, like `load`.

    Args:
        source: its name in messages.
        own: whether the user wrote it. If not, it may name only packages that the user trusts.
    """
    tree = _read_yaml(text, source)
    if not isinstance(tree, dict):
        raise UserError(f"{source}: expected keys such as 'task: ctp', got {tree!r}")
    set_keys = [_override(tree, item) for item in overrides]
    task = tree.get("task")
    for name in (task, tree.get("backbone")):
        if own:
            trust(name)
        else:
            require_trusted(name, source=source)
    if own:
        expand_paths(tree, _Source(source, set_keys, ()).locate)
    cls: type[Config] = Recognition if task == "recognition" else Config
    kinds = get_type_hints(cls)
    if isinstance(task, str):
        where = _Source(source, set_keys, ()).locate("task")
        kinds["plan"] = _task_config("dali_pipelines.tasks", "data", task, where)
        in_nets = ("nets", "", "classifier") if cls is Recognition else ("nets.tasks", "net", task)
        kinds["net"] = _task_config(*in_nets, where)
        tree.setdefault("plan", {})
        tree.setdefault("net", {})
    return _section(tree, cls, kinds, "", _Source(source, set_keys, _dotted(kinds)))


def dump(config: Config) -> str:
    """Write a config as YAML that `load` reads back to an equal one."""
    return yaml.dump(dataclasses.asdict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _read_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: {error.problem or error.context}; not valid YAML") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def _override(tree: dict[str, Any], item: str) -> str:
    """Set "key.sub=value" in the tree; return the key."""
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise UserError(f"--set {item}: expected key=value, such as --set optim.lr=0.02")
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UserError(f"--set {item}: {section!r} is not a section but the value {tree!r}")
    value, before = _read_yaml(text, f"--set {item}"), tree.get(name)
    tree[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return key


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a section with changes, those of its sections too."""
    both = {key for key in changes if isinstance(changes[key], dict) and isinstance(before.get(key), dict)}
    return before | {key: _merged(before[key], value) if key in both else value for key, value in changes.items()}


def _task_config(package: str, part: str, task: str, where: str) -> type:
    """Import the `Config` class of one side of a task."""
    try:
        module = import_task(task, package=package, part=part)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    config: type = module.Config
    return config


def _section(tree: Any, cls: type[Section], kinds: Mapping[str, Any], key: str, source: _Source) -> Section:
    """Make a dataclass from a mapping; `kinds` has the type of each field."""
    prefix = f"{key}." if key else ""
    if not isinstance(tree, dict):
        raise UserError(f"{source.locate(key)}: expected a section with keys {', '.join(kinds)}, got {tree!r}")
    tree = {RENAMED.get(name, name): value for name, value in tree.items()}
    for name in tree:
        if name not in kinds:
            near = nearest_key(f"{prefix}{name}", source.keys) or f"; {key or 'a recipe'} has {', '.join(kinds)}"
            raise UserError(f"{source.locate(f'{prefix}{name}')}: no such key{near}")
    for name in _required(cls):
        if name not in tree:
            raise UserError(f"{source.locate(f'{prefix}{name}')}: missing; expected {_expected(kinds[name])}")
    values = {name: _convert(value, kinds[name], f"{prefix}{name}", source) for name, value in tree.items()}
    try:
        return cls(**values)
    except (ValueError, UserError) as error:
        raise UserError(source.locate(f"{prefix}{error}")) from None


def _required(cls: type["DataclassInstance"]) -> list[str]:
    """List the keys of a section that have no default."""
    return [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _convert(value: Any, kind: Any, key: str, source: _Source) -> Any:
    """Convert `value` to the annotated type `kind`, or raise UserError."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _section(value, kind, get_type_hints(kind), key, source)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [arg for arg in args if arg is not type(None)]
        for option in options:
            try:
                return _convert(value, option, key, source)
            except UserError:
                continue
    if origin is tuple and isinstance(value, list):
        kinds = args[:1] * len(value) if args[1:] == (...,) else args
        if len(kinds) == len(value):
            pairs = enumerate(zip(value, kinds, strict=True))
            return tuple(_convert(item, item_kind, f"{key}.{i}", source) for i, (item, item_kind) in pairs)
    elif origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in args):
            return value
    elif kind is float:
        number = _number(value)
        if number is not None:
            return number
    elif type(value) is kind:  # not isinstance: true is an int to Python
        return value
    near = ""
    if isinstance(value, str):
        near = nearest(value, [str(arg) for arg in args]) if origin is Literal else ""
        if type(None) in args and value.lower() == "none":
            near = "; YAML's word for none is null"
    raise UserError(f"{source.locate(key)}: expected {_expected(kind)}, got {value!r}{near}")


def _number(value: Any) -> float | None:
    """Convert a number to float, or text like 1e-4, which is not a number in YAML 1.1."""
    if type(value) in (int, float):
        return float(value)
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _expected(kind: Any) -> str:
    """Describe a type in words, for messages."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        if args[1:] == (...,):
            return f"a list with each item {_expected(args[0])}"
        return f"a list of {len(args)}: {', '.join(_expected(arg) for arg in args)}"
    if origin in (Union, types.UnionType):
        return " or ".join("null" if arg is type(None) else _expected(arg) for arg in args)
    if dataclasses.is_dataclass(kind):
        required = ", ".join(_required(kind)) if isinstance(kind, type) else ""
        return f"a section with {required}" if required else "a section"
    return TYPE_NAMES.get(kind, str(kind))


def _dotted(kinds: Mapping[str, Any]) -> list[str]:
    """List the dotted keys of a section and of its subsections."""
    names = list(kinds)
    for name, kind in kinds.items():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            names += [f"{name}.{sub}" for sub in _dotted(get_type_hints(kind))]
    return names
