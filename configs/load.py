"""Read a `Config` from YAML and --set, and write it back. Strict: errors name the wrong key."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from configs.convert import Source, dotted_keys, key_types, to_dataclass
from configs.errors import UserError
from configs.paths import expand_paths
from configs.plugins import import_task, require_trusted, trust
from configs.recipes import find
from configs.schema import Config, Recognition
from configs.speed import SUFFIX, speed_settings


class _Loader(yaml.SafeLoader):
    """YAML without dates and duplicate keys, whose plain words mean what YAML 1.2 says.

    PyYAML follows YAML 1.1, where `off` is false, 010 is 8 and 1:30 is 90. Here all three are text, which no number is.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.append(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    char: [(tag, regexp) for tag, regexp in resolvers if tag.endswith((":null", ":merge"))]
    for char, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _words, _first in (
    ("bool", "true|True|false|False", "tTfF"),
    ("int", "[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_words})$"), list(_first))


class _Dumper(yaml.SafeDumper):
    """Block style, except for tuples."""


_Dumper.add_representer(tuple, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe from a YAML file and apply overrides.

    Args:
        path: a file or, from any folder, one of our recipes: "ctp/demo", "configs/ctp/demo.yaml". The suffix "+speed"
            selects its settings for speed.
        overrides: "key.sub=value" with a YAML value; the last one for a key wins. A section, as in "data={root: x}",
            changes only the keys that it names.

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
    locate = Source(source, set_keys, ()).locate
    if own:
        expand_paths(tree, locate)
    cls: type[Config] = Recognition if task == "recognition" else Config
    kinds = key_types(cls)
    if isinstance(task, str):
        name, package, part = ("classifier", "nets", "") if cls is Recognition else (task, "nets.tasks", "net")
        try:
            kinds["plan"] = import_task(task, package="dali_pipelines.tasks", part="data").Config
            kinds["net"] = import_task(name, package=package, part=part).Config
        except UserError as error:
            raise UserError(f"{locate('task')}: {error}") from None
    tree.setdefault("plan", {})
    tree.setdefault("net", {})
    keys = dotted_keys(kinds)
    config = to_dataclass(tree, cls, kinds, "", Source(source, set_keys, keys))
    if "." not in config.task:
        return config
    # Defaults of another package must have their annotated types, or the config saved with the weights is unreadable.
    saved = _read_yaml(dump(config), source)
    return to_dataclass(saved, cls, kinds, "", Source(f"a default of {config.task}", (), keys))


def dump(config: Config) -> str:
    """Write a config as YAML that `load` reads back to an equal one.

    UserError for a value that YAML does not have, which only the default of a task of another package can be.
    """
    try:
        return yaml.dump(_tree(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    except yaml.representer.RepresenterError as error:
        value = error.args[1]
        raise UserError(
            f"task {config.task}: a default of its Config is {value!r}, of type {type(value).__name__}, which no "
            "recipe can hold: write it as an int, float, str, bool, None, or a tuple of those"
        ) from None


def _tree(value: Any) -> Any:
    """Turn a config into mappings, without the fields that its classes compute themselves."""
    if dataclasses.is_dataclass(value):
        return {field.name: _tree(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    return tuple(map(_tree, value)) if isinstance(value, tuple) else value


def _read_yaml(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: {error.problem or error.context}; not valid YAML") from None
    except RecursionError:
        raise UserError(f"{source}: not valid YAML: brackets within brackets, too many for any recipe") from None
    except (yaml.YAMLError, ValueError, LookupError) as error:  # of `!!int x`, of thousands of digits, of `!!bool x`
        raise UserError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def _override(tree: dict[str, Any], item: str) -> str:
    """Set "key.sub=value" in the tree; return the key."""
    key, equals, text = item.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set {item}: expected key=value, such as --set optim.lr=0.02")
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UserError(f"--set {item}: {section!r} is not a section but the value {tree!r}")
    value = _read_yaml(text, f"--set {item}")
    if re.search(r"(^|\s)#", text) and "#" not in str(value):
        raise UserError(
            f"--set {item}: YAML takes what follows # for a comment; quote the value, as in '{key}=\"a #1\"'"
        )
    tree[name] = _merged(tree.get(name), value)
    return key


def _merged(before: Any, value: Any) -> Any:
    """Return the new value of a key; of a section, only the keys that it names are new."""
    if not isinstance(before, dict) or not isinstance(value, dict):
        return value
    return before | {key: _merged(before.get(key), below) for key, below in value.items()}
