"""A stranger's dataset, whose names, classes and lists try to act on a terminal and in a web page."""

import csv

import pytest

from configs.errors import UserError, shown
from configs.load import load
from dali_pipelines import inspect, lists, preview
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.tasks import Task
from tests.helpers.runs import write_recipe
from tests.helpers.stores import make_store
from trainers.commands import doctor

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script>\x1b[2J\nerror: \x9b1m\u202e|```\udce9"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    index = make_store(root, videos=6)
    sources = [f"videos/{name}.mp4" for name in index.names.texts()]
    index.with_columns(
        names=Ragged.of_texts(f"{name}{HOSTILE}" for name in index.names.texts()),
        sources=Ragged.of_texts(sources),
        class_names=(f"a{HOSTILE}", f"b{HOSTILE}"),
        software_only=Ragged.of_texts([HOSTILE] * 6),
    ).save()
    (root / sources[3]).unlink()
    return Index.load(root)


def run(command, store, folder):
    page = folder / "page.html"
    recipe = write_recipe(folder, store.root)
    of_recipe = ["--config", str(recipe)]
    if command == "inspect":
        inspect.main([*of_recipe, "--out", str(page)])
    elif command == "preview":
        preview.main([*of_recipe, "--out", str(page)])
    elif command == "lists":
        listed = folder / "mine.csv"
        with listed.open("w", newline="", errors="surrogateescape") as file:
            csv.writer(file).writerows([[name, f"c{HOSTILE}"] for name in store.names.texts()[:3]])
        lists.main(["auto", str(listed), "--data-dir", str(store.root)])
    elif command == "doctor":
        doctor.main([*of_recipe, "--device", "cpu"])
    else:
        config = load(recipe)
        task = Task(config.task, config.plan)
        for _ in ClipLoader(store, task, batch_size=6, threads=1, most_unreadable=1):
            pass
    return page.read_text() if page.exists() else ""


@pytest.mark.parametrize("command", ["inspect", "preview", "lists", "doctor", "loader"])
def test_commands_escape_hostile_names(store, tmp_path, capfd, caplog, command):
    page = ""
    try:
        page = run(command, store, tmp_path)
    except UserError as error:
        print(shown(str(error)))  # as `run_cli` does
    output = "".join(capfd.readouterr()) + caplog.text.replace("\x1b[33m", "").replace("\x1b[0m", "")
    assert "script" in output + page
    assert not {"\x1b", "\x9b", "\u202e"} & {*output}
    assert "\nerror" not in output
    assert "<script>alert" not in page
