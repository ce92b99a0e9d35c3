"""Preview pictures of the network's inputs."""

import base64
import errno
import io
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from configs.load import load
from dali_pipelines import preview
from dali_pipelines.draw import BOX_LINE, COLORS, GAP, LINE, Sample, View, stack, text, tile, zoom
from dali_pipelines.loader import ClipLoader
from dali_pipelines.preview import first_samples, main, mp4, sheet, views_of
from dali_pipelines.preview_page import page
from dali_pipelines.tasks import Annotations, Task, ctp, recognition
from nets.tasks import pretext_tasks
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

RECIPE = "{task: ctp, backbone: r3d_tiny, work_dir: w, data: {root: ROOT}, plan: {strides: [1]}, train: {epochs: 1}}"
RED = (255, 0, 0)


@pytest.fixture
def recipe(tmp_path, vp9_store) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("ROOT", str(vp9_store.root)))
    return path


HALF = SimpleNamespace(normalization="half")


def test_tiles_show_frames_with_the_loaders_boxes(recipe, tmp_path, vp9_store):
    out = tmp_path / "new" / "preview.png"
    main(["--config", str(recipe), "--out", str(out), "--samples", "2", "--frames", "5"])
    pixels = np.array(Image.open(out))
    factor, side = zoom(112), 112 * zoom(112)
    block = LINE + GAP + side + 2 * LINE + 4 * GAP  # name, frame, frame number, caption, margin
    assert pixels.shape == (2 * block - 4 * GAP, 5 * side + 4 * GAP, 3)

    config = load(recipe)
    batch = next(iter(ClipLoader(vp9_store, Task("ctp", config.plan), batch_size=2, seed=config.seed)))
    assert COLORS[0] == "red"
    red = (pixels == RED).all(axis=2)
    for sample in range(2):
        for column, t in enumerate((0, 4, 8, 11, 15)):
            x1, y1, x2, y2 = (int(side) * factor for side in batch["boxes"][sample, 0, t])
            top, left = sample * block + LINE + GAP, column * (side + GAP)
            outline = red[top + y1 : top + y2, left + x1 : left + x2]
            # Other boxes may cover part of its edges.
            assert outline[:BOX_LINE].mean() + outline[-BOX_LINE:].mean() > 0.8
            assert not red[top : top + y1, left : left + side].any()


def test_views_undo_normalization_and_carry_their_notes():
    rng = np.random.default_rng(0)
    clips, stills = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((3, 3, 4, 8, 8), (2, 3, 1, 8, 8)))
    boxes = rng.random((3, 2, 4, 4))
    task: Any = SimpleNamespace(
        program=SimpleNamespace(normalization="half"),
        annotate=lambda plan: Annotations(["slow", "fast", "turned"], boxes=boxes, up=[0, 0, 90]),
    )
    outputs = {name: x.astype(np.float32) / 127.5 - 1 for name, x in {"stills": stills, "clips": clips}.items()}
    plan = {"frames": np.arange(100, 114, dtype=np.int32)}
    views = views_of(task, plan, outputs | {"boxes": boxes[0], "labels": np.array(1)})
    for view, pixels in zip(views, [*clips, *stills], strict=True):
        assert (view.pixels_THW3 == pixels.transpose(1, 2, 3, 0)).all()
    assert [view.caption for view in views] == ["slow", "fast", "turned", "stills", "stills"]
    assert np.concatenate([view.numbers_T for view in views]).tolist() == list(range(100, 114))
    assert [view.up for view in views] == [0, 0, 90, None, None]
    assert (np.array([view.boxes_RT4 for view in views[:3]]) == boxes).all()
    assert views[3].boxes_RT4 is None


def test_frames_in_unknown_order_have_no_number():
    task: Any = SimpleNamespace(program=HALF, annotate=lambda plan: Annotations([]))
    (view,) = views_of(task, {"frames": np.arange(5)}, {"clips": np.zeros((3, 4, 8, 8), np.float32)})
    assert (view.numbers_T, view.caption) == (None, "clips")


def test_a_replacement_is_shown_with_its_own_name_and_plan(vp9_store, own_store):
    task = Task("ctp", ctp.Config(num_frames=4, size=32, short_sides=(32,)))
    whole = {sample.name: sample.views[0] for sample in first_samples(vp9_store, task, 5, 12)}
    own_store.path(3).unlink()
    samples = first_samples(own_store, task, 5, 12)
    assert {sample.name for sample in samples} == whole.keys() - {own_store.info(3).name}
    for sample in samples:
        (view,), same = sample.views, whole[sample.name]
        assert (view.pixels_THW3 == same.pixels_THW3).all()
        assert view.boxes_RT4 is not None
        assert (view.boxes_RT4 == same.boxes_RT4).all()
        assert view.caption == same.caption


@pytest.mark.parametrize(("degrees", "ahead"), [(0, (0, -1)), (90, (-1, 0)), (180, (0, 1)), (270, (1, 0))])
def test_the_arrow_points_up_in_the_original_picture(degrees, ahead):
    gray = np.full((1, 112, 112, 3), 128, np.uint8)
    drawn = np.array(tile(View(gray, up=degrees), 0)) != 128
    y, x = np.nonzero(drawn.any(axis=2))
    ends = np.array([(x.min() + x.max()) / 2, (y.min() + y.max()) / 2])
    offset = np.array([x.mean(), y.mean()]) - ends  # the head has more ink than the tail
    assert offset @ ahead > 2 * abs(offset @ ahead[::-1])


def test_empty_boxes_are_not_drawn_and_small_frames_are_enlarged():
    gray = np.full((1, 16, 16, 3), 128, np.uint8)
    boxes = np.array([[[5, 5, 5, 9]], [[9, 2, 3, 4]]], float)
    picture = np.array(tile(View(gray, boxes_RT4=boxes), 0))
    assert (picture == 128).all()
    assert picture.shape == (224, 224, 3)


def test_long_captions_wrap_and_stacks_fit_their_content():
    for words in ("some words " * 30, "WIDE LETTERS " * 30, "HandstandPushups" * 8):
        drawn = np.array(text(words, 224))
        assert drawn.shape[0] % LINE == 0
        assert drawn.shape[0] > 3 * LINE
        assert (drawn[:, -1] == 255).all()  # nothing is cut off
    pictures = [Image.new("RGB", size, "red") for size in ((5, 7), (9, 3))]
    assert stack(pictures).size == (9, 7 + 3 + GAP)
    assert stack(pictures, across=True).size == (5 + 9 + GAP, 7)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    noise = (rng.integers(0, 256, (frames, 5, 5, 3), dtype=np.uint8) for frames in (5, 1))
    clip, still = (np.kron(squares, np.ones((1, 15, 15, 1), np.uint8)) for squares in noise)
    return [Sample(f"a<b>{n}", [View(clip, "one & two", np.arange(7, 12)), View(still)], "c<d>") for n in range(2)]


def test_a_page_is_self_contained_and_shows_every_frame(samples):
    written = page(samples, Task("ctp", ctp.Config()), {"recipe": "r<s>.yaml"})
    assert "http" not in written
    assert "<b>" not in written
    assert "<d>" not in written
    assert written.count("a&lt;b&gt;") == 2
    assert written.count("<figcaption>one &amp; two") == 2
    shown = []
    for source in re.findall(r'src="([^"]*)"', written):
        kind, _, data = source.partition(",")
        assert kind == "data:image/webp;base64"
        shown.append(np.array(Image.open(io.BytesIO(base64.b64decode(data))), float))
    views = [view for sample in samples for view in sample.views]
    for strip, view in zip(shown, views, strict=True):
        assert strip.shape == (75 * len(view), 75, 3)
        for t in range(len(view)):
            here = strip[75 * t : 75 * (t + 1)].mean(2)
            errors = [np.abs(here - frame.mean(2)).mean() for frame in view.pixels_THW3.astype(float)]
            assert np.argmin(errors) == t


def test_a_page_describes_the_task_and_its_settings(samples):
    words = re.sub(r"<[^>]*>", " ", page(samples, Task("ctp", ctp.Config(strides=(3,))), {"recipe": "r<s>.yaml"}))
    for term in ("The network predicts where patches", "r&lt;s&gt;.yaml", "clips 3×16×112×112 float32", "strides [3]"):
        assert term in re.sub(r"\s+", " ", words)
    assert "reference.truncate_paste false" in re.sub(r"\s+", " ", words)


def test_an_mp4_plays_all_frames_for_ten_seconds_at_odd_sizes(samples, tmp_path):
    file = tmp_path / "preview.mp4"
    file.write_bytes(mp4(samples))
    with av.open(str(file)) as container:
        assert container.duration >= 10 * av.time_base
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) % 5 == 0
    tiles = [np.array(tile(samples[0].views[0], t), float)[:225] for t in range(5)]
    for n, frame in enumerate(shown[:12]):
        near = [np.abs(frame[LINE : LINE + 225, :225] - each).mean() for each in tiles]
        assert np.argmin(near) == n % 5


def test_an_mp4_has_the_aspect_of_a_screen(samples, monkeypatch):
    monkeypatch.setattr(preview, "SECONDS", 0.1)
    for count in (4, 8, 12):
        with av.open(io.BytesIO(mp4([samples[0]] * count))) as container:
            (stream,) = container.streams.video
            assert 1 < stream.width / stream.height < 3


def test_short_views_and_samples_share_a_row(samples):
    side = 225 + GAP
    assert sheet(samples, 1, row=4).width == 4 * side + 3 * GAP - GAP  # two samples of two views each
    assert sheet(samples, 1, row=2).width == 2 * side - GAP
    assert sheet(samples, 5, row=2).width == 5 * side - GAP


def test_the_class_is_named_unless_the_folder_names_it(vp9_store):
    assert Sample("x/y", []).title == "x/y"
    assert Sample("x/y", [], "x").title == "x/y"
    assert Sample("x/y", [], "z").title == "x/y (z)"
    task = Task("recognition", recognition.Config(num_frames=2, size=32, short_sides=(32,)))
    unlabeled = vp9_store.with_columns(labels=np.full(len(vp9_store), -1))
    assert {first_samples(vp9_store, task, 0, 1)[0].class_name} <= {"class0", "class1"}
    (sample,) = first_samples(unlabeled, task, 0, 1)
    assert sample.title == sample.name
    assert "class" not in sample.views[0].caption


@pytest.mark.parametrize("ending", ["html", "mp4"])
def test_the_command_writes_every_animated_format(recipe, tmp_path, ending):
    out = tmp_path / f"preview.{ending}"
    main(["--config", str(recipe), "--out", str(out), "--samples", "1", "--set", "plan.num_frames=4"])
    assert out.stat().st_size > 1000


def test_the_notes_on_the_list_are_printed(recipe, tmp_path, vp9_store, capsys):
    name = vp9_store.names.text(0)
    (tmp_path / "twice.txt").write_text(f"{name}\n{name}\n")
    options = ["--samples", "1", "--set", "plan.num_frames=4", "--set", f"data.list={tmp_path}/twice.txt"]
    main(["--config", str(recipe), "--out", str(tmp_path / "preview.png"), *options])
    assert f"note: 1 of 2 lines of {tmp_path}/twice.txt name a video again, such as {name}" in capsys.readouterr().out


def test_an_unknown_suffix_lists_the_known_ones(recipe, tmp_path):
    with pytest.raises(UserError, match=r"x\.avi.*\.png, \.html, \.mp4"):
        main(["--config", str(recipe), "--out", str(tmp_path / "x.avi")])


@pytest.mark.parametrize("name", pretext_tasks())
def test_every_task_captions_every_view(name, vp9_store):
    config = load(ROOT / "configs" / name / "demo.yaml")
    task = Task(name, config.plan)
    (sample,) = first_samples(vp9_store, task, config.seed, 1)
    views = int(np.prod(task.batch_schema["clips"][0][:-4]))
    assert all(view.caption not in ("", "clips") for view in sample.views[:views])
    for view in sample.views:
        assert view.boxes_RT4 is None or view.boxes_RT4.shape[1:] == (len(view), 4)
        tile(view, 0)


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("suffix", [".png", ".html", ".mp4"])
def test_a_full_disk_is_named_and_leaves_no_file(tmp_path, monkeypatch, suffix):
    """No partial file may stay."""
    dataset = SimpleNamespace(index=[], list_file="list.txt", notes=[])
    monkeypatch.setattr("dali_pipelines.preview.open_data", lambda *_: dataset)
    monkeypatch.setattr("dali_pipelines.preview.first_samples", lambda *_: [])
    for writer, content in {"sheet": None, "encoded": bytes(9000), "page": "x" * 9000, "mp4": bytes(9000)}.items():
        monkeypatch.setattr(f"dali_pipelines.preview.{writer}", lambda *_, content=content: content)
    monkeypatch.setattr("dali_pipelines.store.files.os.fsync", full_disk)
    out = tmp_path / f"seen{suffix}"
    with pytest.raises(OSError, match=f"No space left on device: '{out}'"):
        main(["--config", str(ROOT / "configs/ctp/demo.yaml"), "--out", str(out)])
    assert list(tmp_path.iterdir()) == []
