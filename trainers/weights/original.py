"""Read a state dict that other training code wrote, without running code from the file."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from configs.errors import UserError
from trainers.engine.checkpoint import REFUSED, plain, why

WRAPPERS = ("state_dict", "model", "module", "model_state_dict", "model_state")
"""Keys under which training code stores the state dict, among other things."""
PARTS = ("encoder", "target_encoder", "predictor")
"""Keys of the state dicts of V-JEPA's networks, which are merged with these keys as prefixes."""
ATTRIBUTES = ("model.", "net.", "network.")
"""Names of the network in Lightning's modules. If all keys begin with one of them, it is dropped."""


def read_original(path: Path) -> dict[str, Tensor]:
    """Read the state dict from a file of torch.save, in its old or new format, or of safetensors.

    Prefixes of keys that DDP, torch.compile and Lightning add are dropped. UserError if the file is missing or damaged,
    holds something else, or holds objects that torch cannot load without running code.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    if path.suffix == ".safetensors":
        try:
            return _network(load_file(path), path)
        except SafetensorError as error:
            raise UserError(f"{path} is damaged, or no file of safetensors ({error})") from None
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                if part := file.testzip():  # torch.load does not verify checksums
                    raise zipfile.BadZipFile(f"checksum of {part}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols and TorchScript, which the error covers
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        refused = REFUSED.search(str(error))
        if refused and refused["blocked"]:
            raise UserError(
                f"{path} would run {refused[1]} when it is read, which no weights need: do not trust it"
            ) from None
        if refused:
            raise UserError(
                f"{path} holds an object of {refused[1]} with its weights, and reading that can run any code. If you "
                "trust the file, load it with weights_only=False where its code is, and torch.save its state dict alone"
            ) from None
        raise UserError(f"{path} is damaged, or no checkpoint of torch ({why(error)})") from None
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        if "format" in content and "identity" in content:
            raise UserError(f"{path} is a checkpoint of clipfeed already: use it as it is")
        parts = {name: content[name] for name in PARTS if isinstance(content.get(name), Mapping)}
        if parts:
            return {f"{name}.{key}": value for name in parts for key, value in _state_dict(parts[name], path).items()}
        content = next((content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{path} holds no state dict, neither by itself nor as {' or '.join(WRAPPERS)}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise UserError(f"{path} holds no state dict: {key!r} is of type {type(value).__name__} and no tensor")
    return _network(content, path)


def _network(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the state dict with keys relative to the network."""
    named = plain(state, path)
    for name in ATTRIBUTES:
        if all(key.startswith(name) for key in named):
            return {key.removeprefix(name): value for key, value in named.items()}
    return named
