"""Register a task "fake" in both packages, for every test of recipes."""

import sys
import types
from collections.abc import Iterator

import pytest

from tests.helpers.recipes import FakeNet, FakePlan


@pytest.fixture(autouse=True, scope="package")
def fake_task() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for package, config in {"dali_pipelines.tasks": FakePlan, "nets.tasks": FakeNet}.items():
            module = types.ModuleType(f"{package}.fake")
            module.__dict__["Config"] = config
            patch.setitem(sys.modules, module.__name__, module)
        yield
