"""The Python of README.md and docs/, run unchanged or at least compiled."""

import dataclasses
import re
import traceback

import pytest
from safetensors.torch import save_file

from dali_pipelines.tasks import task_module
from nets.backbones import create
from nets.tasks import net_module, pretext_tasks
from tests.helpers.docs import apply_diff, blocks, pages, python_blocks, run
from tests.helpers.runs import ROOT
from tests.helpers.users_folder import make_users_folder

ELSEWHERE = {ROOT / "docs" / "api.md": "test_clipfeed.py", ROOT / "docs" / "extending.md": "test_docs_extending.py"}
"""Page -> the test that runs its Python and checks the results."""
EXPORTS = ("r3d18.safetensors", "hub/model.safetensors")
"""Names of an exported R3D-18 on the pages: 130 MB, so it is made only for these."""
RUN = [page for page in pages() if page not in ELSEWHERE and any(block.runs for block in blocks(page))]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_python_blocks_run(page, vp9_store, tmp_path, monkeypatch):
    monkeypatch.chdir(make_users_folder(tmp_path, vp9_store))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in EXPORTS:
        if f'"{name}"' in page.read_text():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            save_file(create("r3d18").state_dict(), name)
    assert run(page)


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_python_blocks_compile(page):
    assert all(block.compiled for block in python_blocks(page))


def test_pages_with_python_are_found():
    assert ROOT / "README.md" in RUN
    assert set(ELSEWHERE) <= set(pages())


@pytest.fixture
def page(tmp_path):
    def write(text: str):
        path = tmp_path / "page.md"
        path.write_text(text)
        return path

    return write


def test_blocks_share_names_and_errors_give_page_and_line(page):
    broken = page("# A\n\n```python\nx = 1\n```\n\nText.\n\n```python\nx += 1\nraise ValueError(x)\n```\n")
    with pytest.raises(ValueError, match="2") as caught:
        run(broken)
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == (str(broken), 11)


def test_marked_blocks_and_files_are_compiled_but_not_run(page):
    marked = page('<!-- not run: a GPU -->\n```python\n1 / 0\n```\n\n```python title="a.py"\n1 / 0\n```\n')
    assert [(block.why_not_run, block.title) for block in blocks(marked)] == [("a GPU", ""), ("", "a.py")]
    assert not run(marked)
    with pytest.raises(SyntaxError):
        _ = python_blocks(page("<!-- not run: a GPU -->\n```python\n1 /\n```\n"))[0].compiled


def test_a_diff_must_apply_at_exactly_one_place():
    assert apply_diff("a\nb\n", " a\n+c\n@@\n-b\n") == "a\nc\n"
    with pytest.raises(AssertionError, match="2 places"):
        apply_diff("a\na\n", " a\n+c\n")


def test_the_fidelity_page_names_exactly_the_reference_switches():
    """The switches of recognition, its tests, and each task's plan and network."""
    text = (ROOT / "docs" / "fidelity.md").read_text()
    named = set(re.findall(r"^\| ([^|]+) \| `([\w.]+\.reference\.\w+)` \|", text, re.MULTILINE))
    configs = [(task, "plan", task_module(task).Config()) for task in (*pretext_tasks(), "recognition")]
    configs += [(task, "net", net_module(task).Config()) for task in pretext_tasks()]
    switches = {(task, key) for task, side, cfg in configs for key in reference_keys(cfg, side)}
    listed = {(task.strip("` "), key) for tasks, key in named for task in tasks.split(",")}
    assert listed - {("recognition", "validation.reference.select_on_test")} == switches


def reference_keys(cfg, before: str) -> set[str]:
    """Return the dotted names of all switches in groups called `reference`."""
    found = set()
    for field in dataclasses.fields(cfg):
        value = getattr(cfg, field.name)
        if dataclasses.is_dataclass(value):
            inner = f"{before}.{field.name}"
            own = {f"{inner}.{switch.name}" for switch in dataclasses.fields(value)}
            found |= own if field.name == "reference" else reference_keys(value, inner)
    return found
