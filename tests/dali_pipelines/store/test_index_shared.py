"""How an index is sent to other processes, and the journal that it is made from."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.index import Index
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.record import Record
from dali_pipelines.store.units import PackedFragments
from dali_pipelines.workers import Pool

FRAGMENTS = {"a": [(700, 10, 3), (710, 20, 2)], "b": [(0, 99, 7)], "c": [(5, 6, 1), (11, 7, 1), (18, 8, 4)]}


def record(name, **other):
    fragments = PackedFragments.of([Fragment(*numbers) for numbers in FRAGMENTS[name]])
    fields = {"width": 64, "height": 48, "fps": 25.0, "codec": "h264", "pix_fmt": "yuv420p", **other}
    return Record(num_frames=sum(f.frames for f in fragments), fragments=fragments, **fields)


RECORDS = {
    "a": record("a", init_size=700),
    "b": record("b", init_size=0, container="file", source="/x/b.avi", software_only="interlaced frames"),
    "c": record("c", init_size=5, width=32),
}


@pytest.fixture
def index(tmp_path):
    Index.build(tmp_path, RECORDS, labels={"a": 0, "b": 1, "c": 0}, class_names=("x", "y")).save()
    return Index.load(tmp_path)


def facts(index):
    return [
        (index.info(i), index.location(i), index.container(i), *(array.tolist() for array in index.units(i)[1:]))
        for i in range(len(index))
    ]


def test_a_pickled_index_holds_only_its_path_and_rows(index):
    wide = Index.build(index.root, {f"{n:04d}": RECORDS["a"] for n in range(5000)})
    wide.save()
    wide = Index.load(index.root)
    chosen = wide.select([4000, 3])
    assert len(pickle.dumps(wide)) < 1000
    assert len(pickle.dumps(chosen)) < 1200
    assert facts(pickle.loads(pickle.dumps(chosen))) == facts(chosen)


def test_an_unsaved_index_is_pickled_whole(index):
    other = index.with_columns(labels=np.array([5, 6, 7]), class_names=()).repeat([2, 0, 1])
    again = pickle.loads(pickle.dumps(other))
    assert facts(again) == facts(other)
    assert [info.label for info, *_ in facts(again)] == [5, 5, 7]


def test_an_open_index_survives_its_replacement(index):
    before, data = facts(index), pickle.dumps(index)
    Index.build(index.root, {"other": RECORDS["c"]}).save()
    assert facts(index) == before
    with pytest.raises(UserError, match=r"index.npz was replaced while it was in use: start the command again"):
        pickle.loads(data)
    assert len(Index.load(index.root)) == 1


class NumFrames:
    """A job that looks up a video's frame count."""

    def __init__(self, index):
        self.index = index

    def __call__(self, row):
        return self.index.info(row).num_frames


@pytest.mark.slow
def test_workers_started_after_a_replacement_end_the_run(index):
    count_frames = NumFrames(index)
    with Pool[int, int](count_frames, workers=1, ahead=1) as pool:
        assert list(pool.run([0, 1])) == [(0, 5), (1, 7)]
    Index.build(index.root, {"other": RECORDS["c"]}).save()
    with (
        Pool[int, int](count_frames, workers=1, ahead=1) as pool,
        pytest.raises(UserError, match="was replaced while it was in use"),
    ):
        list(pool.run([0, 1]))


def test_a_shared_path_is_stored_once(tmp_path):
    source = "/a/long/path/to/a/shard" * 40 + ".tar"
    shard = replace(RECORDS["b"], source=source)
    Index.build(tmp_path, {f"{number:05d}": shard for number in range(10_000)}).save()
    index = Index.load(tmp_path)
    assert index.location(9_999) == source
    assert index.select([7, 3]).texts("sources").texts() == (source, source)
    assert (tmp_path / "index.npz").stat().st_size < 10_000 * len(source) / 20


def test_the_journal_keeps_fragments_in_few_bytes(tmp_path):
    settings, stamp = {"codec": "h264"}, Stamp(1, 2)
    fragments = PackedFragments.of([Fragment(700 + 3000 * n, 3000, 1) for n in range(300)])
    record = replace(RECORDS["a"], fragments=fragments, num_frames=300)
    with Journal(tmp_path, settings) as journal:
        journal.add("v", Entry(stamp, record))
    assert len((tmp_path / "prepare.jsonl").read_text().splitlines()[1]) < 500
    with Journal(tmp_path, settings) as journal:
        entered = journal.entries["v"].record
        assert entered is not None
        assert list(entered.fragments) == list(record.fragments)
        assert entered.container == "mp4"


HEADING = '{"codec": "copy"}\n'
NO_FRAGMENTS = '{"name": "v", "stamp": {"size": 1, "mtime_ns": 2}, "record": {"fragments": [], "software_only": ""}}'


@pytest.mark.parametrize(
    "lines", ["[]", "5", HEADING + "[]", HEADING + '{"shard": "s", "videos": []}', HEADING + NO_FRAGMENTS]
)
def test_foreign_json_in_the_journal_is_refused(tmp_path, lines):
    (tmp_path / "prepare.jsonl").write_text(f"{lines}\n")
    with pytest.raises(UserError, match=r"prepare.jsonl is damaged"):
        Journal(tmp_path, {"codec": "copy"})


def test_a_damaged_line_of_the_journal_is_refused(tmp_path):
    with Journal(tmp_path, {"codec": "h264"}) as journal:
        journal.add("v", Entry(Stamp(1, 2), RECORDS["a"]))
    path = tmp_path / "prepare.jsonl"
    packed = json.loads(path.read_text().splitlines()[1])["record"]["fragments"]
    path.write_text(path.read_text().replace(packed, "gICAgICAgICAgICA"))
    with pytest.raises(UserError, match=r"prepare.jsonl is damaged"):
        Journal(tmp_path, {"codec": "h264"})
