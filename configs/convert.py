"""Convert a YAML tree to a recipe's dataclasses, strictly: errors name the wrong key."""

import dataclasses
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from configs.errors import UserError
from configs.nearest import nearest, nearest_key

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Section = TypeVar("Section", bound="DataclassInstance")

RENAMED = {"normalisation": "normalization", "grey_per_frame": "gray_per_frame"}
"""Old key -> new key, for recipes and checkpoints that predate American spelling."""

SMALLEST, LARGEST = 1e-30, 2**31 - 1
"""Range of the magnitude of a number other than 0: counts are multiplied as 64-bit numbers, the others become float32,
and timers are limited to some years."""

TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True)
class Source:
    """Where a recipe comes from, and what it may hold, for messages."""

    name: str
    set_keys: Sequence[str]
    """Dotted keys that --set has changed."""
    keys: Sequence[str]
    """All valid dotted keys."""

    def locate(self, key: str) -> str:
        """Return "file: key" or "--set key"."""
        dotted = key.partition(" ")[0]  # a failed check says "key = value must be ..."
        overridden = any(dotted == name or dotted.startswith(f"{name}.") for name in self.set_keys)
        is_section = any(name.startswith(f"{dotted}.") for name in self.keys)
        overridden |= any(name.startswith(f"{dotted}.") for name in self.set_keys) and not is_section
        return f"--set {key}" if overridden else f"{self.name}: {key}"


def to_dataclass(tree: Any, cls: type[Section], kinds: Mapping[str, Any], key: str, source: Source) -> Section:
    """Build a dataclass from a mapping; `kinds` has the type of each field."""
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


def key_types(cls: type["DataclassInstance"]) -> dict[str, Any]:
    """Return the type of each key of a section: the fields that its constructor takes."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _required(cls: type["DataclassInstance"]) -> list[str]:
    """List the keys of a section that have no default."""
    return [
        field.name
        for field in dataclasses.fields(cls)
        if field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _convert(value: Any, kind: Any, key: str, source: Source) -> Any:
    """Convert `value` to the annotated type `kind`, or raise UserError."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return to_dataclass(value, kind, key_types(kind), key, source)
    origin, args = get_origin(kind), get_args(kind)
    number = value if type(value) is int else _number(value)
    in_range = not number or SMALLEST <= abs(number) <= LARGEST
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
        if number is not None and in_range:
            return float(number)
    elif kind in TYPE_NAMES and type(value) is kind and (kind is not int or in_range or key == "seed"):
        return value  # isinstance would take true for an int
    near = ""
    if not in_range:
        near = f"; the magnitude of a number is 0, or from {SMALLEST} to {LARGEST}"
    elif isinstance(value, str):
        near = nearest(value, [str(arg) for arg in args]) if origin is Literal else ""
        if type(None) in args and value.lower() == "none":
            near = "; YAML's word for none is null"
    raise UserError(f"{source.locate(key)}: expected {_expected(kind)}, got {value!r}{near}")


def _number(value: Any) -> float | None:
    """Return a finite number, also of text like 1e-4, which is not a number in YAML 1.1."""
    try:
        number = float(value) if type(value) in (float, str) else math.nan
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
    supported = "bool, int, float, str, Literal, tuple or a dataclass"
    return TYPE_NAMES.get(kind) or f"{kind}, which recipes do not support (annotate it with {supported})"


def dotted_keys(kinds: Mapping[str, Any]) -> list[str]:
    """List the dotted keys of a section and of its subsections."""
    names = list(kinds)
    for name, kind in kinds.items():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            names += [f"{name}.{sub}" for sub in dotted_keys(key_types(kind))]
    return names


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a nested mapping to dotted keys."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values
