"""Merged parts equal the dataset of a single run."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.errors import UserError
from dali_pipelines.prepare.engines import ENGINES
from dali_pipelines.prepare.merge import combined, merge
from dali_pipelines.prepare.parts import missing
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.index import Index
from dali_pipelines.store.journal import Journal
from dali_pipelines.store.record import Record
from dali_pipelines.store.units import PackedFragments
from tests.helpers.media import make_video
from tests.helpers.prepared import SMALL, names, prepare

pytestmark = pytest.mark.slow

COUNT = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("source")
    first = make_video(root / "run" / "v0.mp4", frames=12)
    for i in range(1, 6):
        os.link(first, root / "run" / f"v{i}.mp4")
    make_video(root / "jump" / "wide.webm", codec="vp9", frames=10, size=(160, 64))
    make_video(root / "jump" / "gray.avi", codec="mjpeg", frames=9)
    (root / "jump" / "bad, 1.mp4").write_text("no video")
    (root / "run" / "bad.mp4").write_text("no video")
    return root


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory) -> Index:
    """Return the dataset of a single run; tests must not change it."""
    root = tmp_path_factory.mktemp("whole")
    assert prepare(source, "--out", root, *SMALL) == 3
    return Index.load(root)


def prepare_part(source, out, number, *options):
    return prepare(source, "--out", out, *SMALL, "--shard", f"{number}/{COUNT}", *options)


@pytest.fixture(scope="module")
def parts(source, tmp_path_factory) -> Path:
    """Return all parts, not merged; tests must not change them."""
    root = tmp_path_factory.mktemp("parts")
    for number in reversed(range(COUNT)):
        assert prepare_part(source, root, number) in (0, 3)
    return root


@pytest.fixture
def largest(out) -> Path:
    """Return the journal of the part with the most videos."""
    return max(out.glob("parts/*/prepare.jsonl"), key=lambda path: path.stat().st_size)


@pytest.fixture
def out(parts, tmp_path) -> Path:
    """Copy the parts."""
    return shutil.copytree(parts, tmp_path / "out")


def cut_off(journal: Path) -> int:
    """Cut a journal to one and a half results, as a kill does; return how many are lost."""
    settings, *lines = journal.read_bytes().splitlines(keepends=True)
    begun = [line for line in lines if b'"begun"' in line]
    first, second, *others = (line for line in lines if line not in begun)
    journal.write_bytes(b"".join([settings, *begun, first, second[:40]]))
    return 1 + len(others)


def test_merged_index_equals_that_of_one_run_byte_for_byte(source, whole, out, capsys):
    assert prepare("--out", out, "--merge") == 3
    assert (out / "index.npz").read_bytes() == (Path(whole.root) / "index.npz").read_bytes()
    assert names(Index.load(out)) == names(whole)
    printed = capsys.readouterr().out
    assert f"{out}: 8 videos of all parts, {whole.num_frames.sum()} frames" in printed
    assert "quarantined 2 of 10 videos" in printed


def test_concatenated_indexes_equal_the_index_of_all_records(tmp_path):
    fragments = (Fragment(700, 10, 2), Fragment(710, 20, 1))
    kinds = [("vp9", "yuv420p"), ("h264", "yuv420p"), ("mjpeg", "yuvj420p"), ("h264", "yuv444p"), ("av1", "yuv420p")]
    records = {
        f"v{i * 7 % 9}": Record(
            3,
            16 * (i + 1),
            32,
            25.0 + i,
            *kinds[i % 5],
            700,
            PackedFragments.of(fragments[: i % 2 + 1]),
            source="x" * i,
        )
        for i in range(9)
    }
    classes: dict[str, Any] = {
        "labels": {name: number for number, name in enumerate(records)},
        "class_names": [*"abcdefghi"],
    }
    Index.build(tmp_path / "whole", records, **classes).save()
    split = [{name: record for name, record in records.items() if int(name[1]) % 4 == part} for part in range(4)]
    parts = [Index.build(tmp_path, of, **classes) for of in split]
    assert len({part.formats for part in parts}) > 1
    combined(tmp_path, parts).save()
    assert (tmp_path / "index.npz").read_bytes() == (tmp_path / "whole" / "index.npz").read_bytes()


def test_merged_quarantine_has_the_reasons_of_all_parts(whole, out):
    prepare("--out", out, "--merge")
    with (out / "quarantine.csv").open() as ours, (Path(whole.root) / "quarantine.csv").open() as theirs:
        assert list(csv.reader(ours)) == list(csv.reader(theirs))


def test_a_damaged_quarantine_of_a_part_is_named(out):
    path = next(out.glob("parts/*/quarantine.csv"))
    path.write_text("no header\nand no reasons\n")
    with pytest.raises(UserError, match=f"^{path} is damaged .*: run prepare again, or remove it"):
        merge(out)


@pytest.mark.parametrize("content", ["", "{", "\0", "null", "5", "[1]", '{"of": 3}'])
def test_a_part_with_a_damaged_done_file_is_unfinished(out, content):
    (out / "parts" / f"2-of-{COUNT}" / "done.json").write_text(content)
    assert missing(out) == "2"
    with pytest.raises(UserError, match=r"parts are not finished, run them again .*--array=2"):
        merge(out)


@pytest.mark.parametrize("content", ["", "{", "5", "[]", '{"parts": 3}'])
def test_a_damaged_run_file_is_named(out, content):
    path = out / "parts" / "run.json"
    path.write_text(content)
    with pytest.raises(UserError, match=f"^{path} is damaged .*: give another --out"):
        missing(out)


def test_videos_of_all_parts_share_one_folder(whole, out):
    merge(out)
    index = Index.load(out)
    for i in range(len(index)):
        assert index.path(i).read_bytes() == whole.path(i).read_bytes()


def test_parts_packed_in_shards_can_be_merged(source, whole, tmp_path, capsys):
    for number in range(COUNT):
        prepare_part(source, tmp_path, number, "--shards", "1GB")
    index, _ = merge(tmp_path)
    assert names(index) == names(whole)
    shards = {index.file(i) for i in range(len(index))}
    assert sorted(shards) == sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "shards").iterdir())
    for i in range(len(index)):
        start = index.units(i).init[0]
        stored = whole.path(i).read_bytes()
        assert index.path(i).read_bytes()[start : start + len(stored)] == stored


def test_merging_too_early_names_the_missing_parts(out, capsys):
    for number in (0, 2, 3):
        (out / "parts" / f"{number}-of-{COUNT}" / "done.json").unlink()
    with pytest.raises(UserError, match=r"parts are not finished, run them again \(sbatch --array=0,2-3\), then"):
        prepare("--out", out, "--merge")
    assert not (out / "index.npz").exists()
    assert prepare("--out", out, "--missing") == 0
    assert capsys.readouterr().out == "0,2-3\n"


def test_opening_an_unmerged_dataset_says_how_to_merge(parts):
    with pytest.raises(UserError, match=r"is prepared in parts; when all are finished, run `.* --out .* --merge`"):
        Index.load(parts)


def test_missing_prints_nothing_when_all_parts_are_done(out, capsys):
    assert prepare("--out", out, "--missing") == 0
    assert capsys.readouterr().out == "\n"


def test_parts_made_from_other_videos_are_named(source, out, tmp_path):
    more = shutil.copytree(source, tmp_path / "more")
    shutil.copy(more / "run" / "v0.mp4", more / "run" / "new.mp4")
    prepare_part(more, out, 2)
    with pytest.raises(UserError, match=r"have not seen the same videos and classes \(10 and 11 videos\): .*=2\)"):
        prepare("--out", out, "--merge")


def test_parts_made_with_other_classes_are_named(source, out):
    prepare_part(source, out, 1, "--labels", "none")
    with pytest.raises(UserError, match=r"have not seen the same videos and classes \(10 videos\): .*=1\)"):
        prepare("--out", out, "--merge")


def test_an_interrupted_part_resumes_from_its_journal(source, whole, out, largest, monkeypatch, capsys):
    part, lost = int(largest.parent.name[0]), cut_off(largest)
    with monkeypatch.context() as patch:
        patch.setitem(ENGINES, "local", lambda *_, **__: iter([sys.exit("killed")]))
        with pytest.raises(SystemExit, match="killed"):
            prepare_part(source, out, part)
    with pytest.raises(UserError, match=f"not finished.*=.*{part}"):
        merge(out)
    prepare_part(source, out, part)
    assert f"({lost} stored now)" in capsys.readouterr().out
    assert names(merge(out)[0]) == names(whole)


def test_a_second_run_of_the_same_part_is_refused(source, out):
    folder = out / "parts" / f"1-of-{COUNT}"
    settings = json.loads((folder / "prepare.jsonl").read_text().splitlines()[0])
    with Journal(folder, settings), pytest.raises(UserError, match=r"another prepare run is writing .*1-of-4"):
        prepare_part(source, out, 1)


def test_changed_videos_are_prepared_and_merged_again(source, whole, out, tmp_path):
    merge(out)
    changed_source = shutil.copytree(source, tmp_path / "mine")
    make_video(changed_source / "run" / "v0.mp4", frames=30)
    for number in range(COUNT):
        prepare_part(changed_source, out, number)
    merge(out)
    again = Index.load(out)
    assert names(again) == names(whole)
    assert again.num_frames[names(whole).index("run/v0")] == 30


def test_merging_only_bad_videos_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    for number in range(2):
        prepare(tmp_path / "a.mp4", "--out", tmp_path / "out", *SMALL, "--shard", f"{number}/2")
    with pytest.raises(UserError, match=r"0 of 1 video can be used, see .*quarantine.csv"):
        merge(tmp_path / "out")


@pytest.mark.parametrize("arguments", [["--merge", "{source}"], ["--missing", "{source}"], []])
def test_sources_go_with_neither_merge_nor_missing(source, tmp_path, arguments, capsys):
    with pytest.raises(SystemExit):
        prepare("--out", tmp_path, *(argument.format(source=source) for argument in arguments))
    assert "give the videos, or else --missing or --merge" in capsys.readouterr().err
