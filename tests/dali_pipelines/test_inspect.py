"""`inspect` reports on a dataset, against how it was made."""

import html.parser
import json
import shutil
from pathlib import Path

import pytest

from configs.errors import UserError
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.inspect import main
from dali_pipelines.inspection import costs, spread
from dali_pipelines.inspection.contents import contents
from dali_pipelines.inspection.costs import clip_costs, gain, task_costs
from dali_pipelines.inspection.page import page
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, ctp, dpc
from tests.helpers.indexes import build

FRAMES = range(40, 52)  # lengths of the store's twelve videos, whose GOP is 8


@pytest.fixture(scope="module")
def root(vp9_store, tmp_path_factory):
    """Copy the store and add two lists and a quarantine."""
    root = tmp_path_factory.mktemp("inspect") / "data"
    shutil.copytree(vp9_store.root, root)
    (root / "train.txt").write_text("class0/video00\nclass1/video01.avi\nclass1/bad.mp4\n")
    (root / "wrong.txt").write_text("nowhere/x\n")
    reasons = {"bad.mp4": "truncated: 7 of 20 frames", "b/<i>.mp4": "truncated: 9 of 31 frames"}
    reasons |= {"c.mp4": "no video", "d.mp4": "truncated: 0 of 1 frame"}
    rows = "".join(f"class1/{path},{reason}\n" for path, reason in reasons.items())
    (root / "quarantine.csv").write_text("path,reason\n" + rows)
    return root


@pytest.fixture(scope="module")
def sections(root):
    """Return the sections by the first word of their titles."""
    return {section.title.split()[0].rstrip(":"): section for section in contents(open_dataset(root))}


def test_a_damaged_table_of_fragments_is_named(tmp_path):
    index = build(tmp_path, "a", "b")
    tables = Ragged.of_bytes([index.texts("fragments")[0].tobytes(), b"\x80" * 9])
    index.with_columns(fragments=tables).save()
    with pytest.raises(UserError, match=r"index\.npz is damaged at b: .*; run `clipfeed prepare` again"):
        main([str(tmp_path)])


def test_the_overview_counts_frames_hours_and_bytes(root, sections):
    rows = dict(sections["Dataset"].rows)
    size = sum(path.stat().st_size for path in root.rglob("*.mp4"))
    assert rows["videos"] == "12"
    assert rows["frames"] == str(sum(FRAMES))
    assert float(rows["hours"]) == pytest.approx(sum(FRAMES) / 25 / 3600, rel=1e-3)
    assert rows["bytes"].endswith(f"{size / sum(FRAMES) / 1000:.2f} kB a frame")


def test_lengths_sizes_rates_formats_and_gops_match_the_files(sections):
    assert sections["Lengths"].rows[0][1:] == ("40", "1.60")
    assert sections["Lengths"].rows[-1][1:] == ("51", "2.04")
    assert sum(count for _, count in sections["Lengths"].bars) == 12
    assert dict(sections["Sizes"].rows) == {"160x192": "6", "192x160": "6"}
    assert sections["Formats"].rows[0][0].startswith("vp9 yuv420p")
    assert sections["Frames"].rows == [("5 to 8", "12")]
    assert sections["Frame"].rows == [("25", "12")]
    assert dict(sections["Classes"].rows) == {"class0": "6", "class1": "6"}


def test_lists_and_reasons_are_counted(sections):
    train, wrong = sections["Lists"].rows
    assert train == ("train.txt", "2", "1", "")
    assert wrong[3].startswith("names 1 video that ")
    assert sections["Quarantined"].rows == [
        ("3", "truncated: N of N frames", "class1/bad.mp4"),
        ("1", "no video", "class1/c.mp4"),
    ]


def test_task_costs_match_decoding_whole_gops(vp9_store):
    task = Task("ctp", ctp.Config())
    measured = clip_costs(vp9_store, task, rows=range(12), draws=2, seed=3)
    decoded = delivered = 0
    for epoch in range(2):
        for row in range(12):
            frames = task.plan(vp9_store.info(row), generator(3, Stream.SAMPLE, epoch, row))["frames"]
            touched = sorted({frame // 8 for frame in frames.tolist()})
            before_last = [min(8 * (gop + 1), vp9_store.num_frames[row]) - 8 * gop for gop in touched[:-1]]
            decoded += sum(before_last) + frames.max() % 8 + 1
            delivered += len(frames)
    assert measured.amplification == pytest.approx(decoded / delivered)


def test_a_task_that_needs_longer_videos_has_no_costs(vp9_store):
    rows = task_costs(open_dataset(vp9_store.root), [Task("dpc", dpc.Config()), Task("ctp", ctp.Config())]).rows
    assert rows[0] == ("dpc", "121", "all", "", "")
    assert float(rows[1][3]) > 1


def test_the_gain_of_preparing_is_measured_on_the_videos(vp9_store):
    (section,) = gain(vp9_store)
    now, after, factor = (float(cell) for cell in section.rows[1][1:])
    assert 0 < now < after  # VP9 with a GOP of 8 takes less than H.264 key frames, though those are smaller
    assert factor == pytest.approx(now / after, rel=0.1)


def test_the_gain_is_measured_at_each_videos_own_middle(vp9_store, monkeypatch):
    """As text, row 11 comes before row 2: a short video was asked for the frames of a longer one."""
    first = {}

    def spy(index, row, frames):
        if index is vp9_store and len(frames) == costs.LENGTH:
            first[row] = frames[0]
        return read_clip(index, row, frames)

    monkeypatch.setattr(costs, "read_clip", spy)
    gain(vp9_store)
    assert first == {row: vp9_store.num_frames[row] // 2 - 16 for row in spread(12, costs.REENCODED)}


class Tags(html.parser.HTMLParser):
    """Collect tag counts and the files that the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.loaded: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.loaded += [value for name, value in attrs if name in ("src", "href")]


def test_the_page_is_complete_escaped_and_self_contained(root):
    dataset = open_dataset(root)
    sections = contents(dataset)
    tags = Tags()
    text = page(dataset.index, sections)
    tags.feed(text)
    assert tags.counts["h2"] == len(sections)
    assert tags.counts["img"] == 12
    assert "i" not in tags.counts
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.loaded)
    bars = sum(len(section.bars) for section in sections if len(section.bars) > 1)
    assert tags.counts["rect"] == bars


def test_the_command_prints_tables_and_writes_files(root, tmp_path, capsys):
    main(
        [str(root), "--config", "configs/ctp/demo.yaml", "--set", "data.list=train.txt", "--out", f"{tmp_path}/a.json"]
    )
    printed = capsys.readouterr().out
    assert "1 of 3 videos of" in printed
    assert [line.split()[0] for line in printed.split("== What tasks")[1].splitlines()[2:3]] == ["ctp"]
    titles = [section["title"] for section in json.loads((tmp_path / "a.json").read_text())]
    assert all(title in printed for title in titles)


def test_wrong_arguments_are_refused(root):
    with pytest.raises(UserError, match=r"--out x.pdf: give a name that ends in .html or .json"):
        main([str(root), "--out", "x.pdf"])
    with pytest.raises(UserError, match="give the folder of a prepared dataset, or --config"):
        main([])
    with pytest.raises(UserError, match=r"^--set plan\.size=9 changes a recipe: name one with --config$"):
        main([str(root), "--set", "plan.size=9"])
    assert not Path("x.pdf").exists()
