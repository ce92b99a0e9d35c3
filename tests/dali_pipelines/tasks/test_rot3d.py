"""3D-RotNet's data: the label is the visible turn."""

from collections import Counter

import numpy as np
from PIL import Image

from dali_pipelines.tasks import Task
from dali_pipelines.tasks.rot3d import Config, Reference, annotate
from tests.helpers.dali import run_graph
from tests.helpers.plans import plans

CFG = Config(num_frames=2, size=32, short_sides=(40,))
SHIFTED = Config(num_frames=2, size=32, short_sides=(40,), reference=Reference(shifted_rotation=True))


def one_of_each_class(cfg: Config) -> list[dict[str, np.ndarray]]:
    return list({int(drawn["labels"]): drawn for drawn in plans("rot3d", cfg, 50, width=160, height=120)}.values())


def clips_of(drawn: list[dict[str, np.ndarray]], cfg: Config) -> list[np.ndarray]:
    """Return the clips of these plans, (T, size, size, 3), for one video of noise."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), dtype=np.uint8)
    samples = [{**sample, "frames": frames} for sample in drawn]
    return run_graph(
        lambda nodes: Task("rot3d", cfg).graph(nodes["frames"], nodes)["clips"], samples, {"frames": "FHWC"}
    )


def upright(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the plan without its turn."""
    return drawn | {"rot90": np.zeros(1, np.float32), "shift": np.zeros((1, 2), np.float32)}


def turned_about_a_pixels_corner(clip: np.ndarray, quarters: int) -> np.ndarray:
    """Turn as the original does, pixel by pixel, about (size / 2, size / 2) in whole-number coordinates."""
    size = clip.shape[1]
    out = np.empty_like(clip)
    for row, column in np.ndindex(size, size):
        y, x = row - size // 2, column - size // 2
        for _ in range(quarters):  # the pixel's position before a counterclockwise turn
            y, x = x, -y
        y, x = np.clip([y + size // 2, x + size // 2], 0, size - 1)
        out[:, row, column] = clip[:, y, x]
    return out


def test_the_label_is_how_often_the_clip_was_turned_counter_clockwise():
    drawn = one_of_each_class(CFG)
    before = clips_of([upright(sample) for sample in drawn], CFG)
    assert {int(sample["labels"]) for sample in drawn} == {0, 1, 2, 3}
    for sample, still, clip in zip(drawn, before, clips_of(drawn, CFG), strict=True):
        np.testing.assert_allclose(clip, np.rot90(still, int(sample["labels"]), axes=(1, 2)), atol=1e-4)


def test_counter_clockwise_is_what_pil_means_by_it():
    (drawn,) = [sample for sample in one_of_each_class(CFG) if sample["labels"] == 1]
    (still,), (clip,) = clips_of([upright(drawn)], CFG), clips_of([drawn], CFG)
    theirs = Image.fromarray(still[0, :, :, 0]).transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_allclose(clip[0, :, :, 0], np.asarray(theirs), atol=1e-4)


def test_the_originals_turn_is_off_by_a_pixel_and_repeats_a_line():
    drawn = one_of_each_class(SHIFTED)
    before = clips_of([upright(sample) for sample in drawn], SHIFTED)
    for sample, still, clip in zip(drawn, before, clips_of(drawn, SHIFTED), strict=True):
        label = int(sample["labels"])
        np.testing.assert_allclose(clip, turned_about_a_pixels_corner(still, label), atol=1e-4)
        top, left = (clip[:, 0] == clip[:, 1]).all(), (clip[:, :, 0] == clip[:, :, 1]).all()
        assert (top, left) == {0: (False, False), 1: (True, False), 2: (True, True), 3: (False, True)}[label]


def test_no_line_repeats_unless_the_original_is_asked_for():
    for clip in clips_of(one_of_each_class(CFG), CFG):
        for line, next_one in [(clip[:, 0], clip[:, 1]), (clip[:, :, 0], clip[:, :, 1])]:
            assert (line != next_one).any()


def test_turns_are_uniform_and_independent_of_the_mirror():
    """Chi-squared over 4000 draws, 99.9 % limit for 7 degrees of freedom: 24.3."""
    drawn = plans("rot3d", CFG, 4000)
    counts = Counter((int(p["labels"]), bool(p["crop_start"][0][1] > p["crop_end"][0][1])) for p in drawn)
    assert len(counts) == 8
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 24.3


def test_notes_say_where_up_is():
    for drawn in one_of_each_class(CFG):
        said = annotate(drawn, CFG)
        quarters = int(drawn["labels"])
        assert said.captions == ["upright" if quarters == 0 else f"rotated by {90 * quarters} degrees"]
        assert said.up == [90 * quarters]
