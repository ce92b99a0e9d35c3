"""A made-up task "fake" with a recipe, and the config or the error from reading it."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from configs.errors import UserError
from configs.load import parse
from configs.schema import Config


@dataclass(frozen=True)
class Reference:
    truncate: bool = False


@dataclass(frozen=True)
class FakePlan:
    size: int = 112
    strides: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (0.5, "a")
    mode: Literal["random", "linear"] = "random"
    reference: Reference = field(default_factory=Reference)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size = {self.size} must be at least 1")


@dataclass(frozen=True)
class FakeNet:
    hidden: int | None = None


BASE = """
task: fake
backbone: r3d_tiny
work_dir: runs/x
data: {root: data/x}
train: {epochs: 3}
"""


def read(more: str = "", *overrides: str) -> Config:
    return parse(BASE + more, source="x.yaml", overrides=overrides)


def message(more: str = "", *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        read(more, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)
