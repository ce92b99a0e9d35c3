"""Mutated lists of every kind are read or raise a one-line UserError: no crash, hang or excessive memory."""

import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import UserError
from dali_pipelines.datasets import formats
from dali_pipelines.datasets.fates import read_quarantine
from dali_pipelines.datasets.formats import read_lists
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.store.index import Index
from tests.helpers.indexes import build
from tests.helpers.lists_of_makers import FILES, KINETICS, SSV2, UCF
from tests.helpers.mutations import INPUTS

pytestmark = pytest.mark.slow

MAX_MEMORY = 50 * 2**20  # for inputs below 10 KB
SEEDS = {
    "text": [text for name, text in FILES.items() if name.endswith(".txt")],
    "csv": [
        *(text for name, text in FILES.items() if name.endswith((".csv", ".tsv"))),
        KINETICS.format(cc=",is_cc") + 'abseiling,-3B32lodo2M,59,69,val,0\n"air drumming",_dbcJuKJQNs,40,50,val,0\n',
        "path,label,split\na,run,train\nb,walk,test\n",
    ],
    "json": [
        *(text for name, text in FILES.items() if name.endswith((".json", ".jsonl"))),
        *map(json.dumps, SSV2.values()),
    ],
}
PIECES = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xb2\x80", b"\xc2\x85", b"\x1b[31m", b"\\ud800"),
    *(b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b" ", b"/", b"\\", b".", b"..", b"[", b"{", b"}]", b":"),
    *(b"-1", b"1e400", b"NaN", b"null", b"9" * 5000, b"[" * 3000, b"a" * 3000, b"label", b"name,label\n", b"split"),
)


@pytest.fixture(autouse=True)
def cache_format_names(monkeypatch):
    """Cache the module search, which takes longer than reading a list."""
    names = formats.format_names()
    monkeypatch.setattr(formats, "format_names", lambda: names)


def mutants(kind: str, count: int) -> Iterator[bytes]:
    rng = random.Random(kind)
    seeds = [text.encode() for text in SEEDS[kind]]
    for _ in range(count):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 4)):
            place, length = rng.randrange(len(data) + 1), rng.choice((0, 1, 1, 2, 20))
            match rng.randrange(4):
                case 0:
                    data[place : place + length] = rng.choice(PIECES)
                case 1:
                    del data[place : place + length]
                case 2:
                    data[place:place] = data[rng.randrange(len(data) + 1) :][:length]
                case _:
                    data[place : place + 1] = bytes([rng.randrange(256)])
        yield bytes(data)


@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_lists_are_read_or_a_one_line_error(tmp_path, kind):
    path = tmp_path / f"list.{'json' if kind == 'json' else 'dat'}"
    kinds = {"lists": 0, "errors": 0}
    for data in mutants(kind, INPUTS):
        path.write_bytes(data)
        try:
            lists = read_lists(path)
        except UserError as error:
            assert_short(error)
            kinds["errors"] += 1
        else:
            kinds["lists"] += 1
            assert lists.entries
            for readings in lists.entries.values():
                for reading in readings:
                    lengths = {
                        len(column) for column in (reading.names, reading.labels or reading.names, *reading.columns)
                    }
                    assert len(lengths) == 1
                    assert all(isinstance(name, str) for name in reading.names)
    assert min(kinds.values()) > INPUTS // 100, kinds  # both must occur


@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_lists_only_open_videos_of_the_dataset(tmp_path, kind):
    build(tmp_path, *UCF)
    (tmp_path / "quarantine.csv").write_text("path,reason\n/films/UCF/YoYo/lost.avi,alas\n")
    path = tmp_path / f"list.{'json' if kind == 'json' else 'dat'}"
    opened = 0
    tracemalloc.start()
    for data in mutants(kind, 60):
        path.write_bytes(data)
        try:
            dataset = open_dataset(tmp_path, path, labeled=True, missing="skip")
        except UserError as error:
            assert_short(error)
        else:
            opened += 1
            assert set(dataset.index.names.texts()) <= set(UCF)
            assert (dataset.index.labels >= 0).all()
            assert int(dataset.index.labels.max()) < len(dataset.index.class_names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_MEMORY
    assert opened


def test_mutated_quarantines_are_read_or_refused(tmp_path):
    rng = random.Random(0)
    good = b'path,reason\r\n/films/UCF/YoYo/lost.avi,"truncated, alas"\r\n/films/a.mp4,x\r\n'
    build(tmp_path, *UCF)
    for _ in range(100):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(data) + 1)
            data[place : place + rng.randrange(3)] = rng.choice(PIECES)
        (tmp_path / "quarantine.csv").write_bytes(data)
        try:
            assert all(isinstance(text, str) for item in read_quarantine(tmp_path).items() for text in item)
        except UserError as error:
            assert_short(error)
    assert len(Index.load(tmp_path)) == len(UCF)


def assert_short(error: UserError) -> None:
    text = str(error).replace(str(Path(str(error)).parent), "")
    assert text.isprintable(), text
    assert len(str(error)) < 1500
