"""Pages of `preview` and `inspect` in a browser, if available."""

import numpy as np
import pytest

from dali_pipelines.draw import Sample, View
from dali_pipelines.inspection import Section
from dali_pipelines.inspection.page import page as inspection_page
from dali_pipelines.preview_page import page
from dali_pipelines.tasks import Task, ctp
from tests.helpers.chromium import run_page

pytestmark = pytest.mark.slow

GROUND = {False: "rgb(255, 255, 255)", True: "rgb(15, 20, 26)"}
LOOK = """{
  ground: getComputedStyle(document.body).backgroundColor,
  pictures: [...document.images].map((image) => [image.naturalWidth, image.naturalHeight]),
  pixels: [...document.querySelectorAll("canvas")].map((c) => c.getContext("2d").getImageData(8, 8, 1, 1).data[0]),
  words: document.querySelector(".number").textContent,
  box: ["x", "y", "width", "height"].map((name) => document.querySelector(".screen rect").getAttribute(name)),
  step: document.getElementById("step").value,
  button: document.getElementById("play").textContent,
}"""
PAUSE_AND_STEP = """(() => {
  const key = (name) => document.body.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
  key(" ");
  show(3);
  key("ArrowLeft");
  return %s;
})()"""


def gray_clip() -> View:
    """Return a clip with gray 50 t and number 100 + 2 t in frame t, and a box that moves to the right."""
    gray = np.repeat(50 * np.arange(5, dtype=np.uint8), 16 * 16 * 3).reshape(5, 16, 16, 3)
    boxes = np.array([[[t, 1, t + 4, 6] for t in range(5)]], float)
    return View(gray, "gray", 100 + 2 * np.arange(5), boxes, up=90)


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_autoplays_pauses_and_steps_with_boxes(tmp_path, dark):
    still = View(np.full((1, 16, 16, 3), 200, np.uint8), "still")
    written = page([Sample("a/b", [gray_clip(), still], num_frames=120)], Task("ctp", ctp.Config()), {})
    seen, console = run_page(written, PAUSE_AND_STEP % LOOK, tmp_path, dark=dark)
    assert console == []
    assert seen["ground"] == GROUND[dark]
    assert seen["pictures"] == [[16, 80], [16, 16]]
    assert seen["button"] == "Play"  # it played until the key stopped it
    assert (seen["step"], seen["words"]) == ("2", "frame 104")
    assert seen["pixels"] == pytest.approx([100, 200], abs=4)
    assert [float(number) for number in seen["box"]] == [2, 1, 4, 5]


def test_the_page_advances_with_time(tmp_path):
    written = page([Sample("a/b", [gray_clip()])], Task("ctp", ctp.Config()), {})
    # Each frame shows for an eighth of a second.
    seen, _ = run_page(written, LOOK, tmp_path, wait_ms=300)
    assert 1 <= int(seen["step"]) <= 3
    assert seen["button"] == "Pause"


def test_a_page_of_101_classes_fits_a_narrow_window(tmp_path, vp9_store):
    names = [f"Pretending to put something behind something else quickly {number}" for number in range(101)]
    bars = [(name, float(number)) for number, name in enumerate(names)]
    sections = [
        Section("Classes", [(name, "1") for name in names], ("class", "videos"), bars),
        Section("Reasons", [(name, "1") for name in names[:5]], ("reason", "videos"), bars[:5]),
    ]
    look = "[document.documentElement.scrollWidth <= innerWidth, getComputedStyle(document.body).color]"
    (fits, color), console = run_page(inspection_page(vp9_store, sections), look, tmp_path, dark=True)
    assert (fits, console) == (True, [])
    assert color == "rgb(228, 234, 240)"
