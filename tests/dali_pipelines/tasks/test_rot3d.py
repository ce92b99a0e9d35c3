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


def rotated_about_a_pixels_corner(clip: np.ndarray, quarter_turns: int) -> np.ndarray:
    """Turn as the original does, pixel by pixel, about (size / 2, size / 2) in whole-number coordinates."""
    size = clip.shape[1]
    out = np.empty_like(clip)
    for row, column in np.ndindex(size, size):
        y, x = row - size // 2, column - size // 2
        for _ in range(quarter_turns):  # the pixel's position before a counterclockwise turn
            y, x = x, -y
        y, x = np.clip([y + size // 2, x + size // 2], 0, size - 1)
        out[:, row, column] = clip[:, y, x]
    return out


def test_the_label_counts_counterclockwise_quarter_turns():
    drawn = one_of_each_class(CFG)
    before = clips_of([upright(sample) for sample in drawn], CFG)
    assert {int(sample["labels"]) for sample in drawn} == {0, 1, 2, 3}
    for sample, still, clip in zip(drawn, before, clips_of(drawn, CFG), strict=True):
        np.testing.assert_allclose(clip, np.rot90(still, int(sample["labels"]), axes=(1, 2)), atol=1e-4)


def test_counterclockwise_is_as_in_pil():
    (drawn,) = [sample for sample in one_of_each_class(CFG) if sample["labels"] == 1]
    (still,), (clip,) = clips_of([upright(drawn)], CFG), clips_of([drawn], CFG)
    theirs = Image.fromarray(still[0, :, :, 0]).transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_allclose(clip[0, :, :, 0], np.asarray(theirs), atol=1e-4)


def test_shifted_rotation_is_off_by_a_pixel_and_repeats_a_line():
    drawn = one_of_each_class(SHIFTED)
    before = clips_of([upright(sample) for sample in drawn], SHIFTED)
    for sample, still, clip in zip(drawn, before, clips_of(drawn, SHIFTED), strict=True):
        label = int(sample["labels"])
        np.testing.assert_allclose(clip, rotated_about_a_pixels_corner(still, label), atol=1e-4)
        top, left = (clip[:, 0] == clip[:, 1]).all(), (clip[:, :, 0] == clip[:, :, 1]).all()
        assert (top, left) == {0: (False, False), 1: (True, False), 2: (True, True), 3: (False, True)}[label]


def test_no_line_repeats_by_default():
    for clip in clips_of(one_of_each_class(CFG), CFG):
        for line, next_line in [(clip[:, 0], clip[:, 1]), (clip[:, :, 0], clip[:, :, 1])]:
            assert (line != next_line).any()


def test_rotations_are_uniform_and_independent_of_mirroring():
    """Chi-squared over 4000 draws, 99.9 % limit for 7 degrees of freedom: 24.3."""
    drawn = plans("rot3d", CFG, 4000)
    counts = Counter((int(p["labels"]), bool(p["crop_start"][0][1] > p["crop_end"][0][1])) for p in drawn)
    assert len(counts) == 8
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 24.3


def test_notes_name_the_rotation_and_the_up_direction():
    for drawn in one_of_each_class(CFG):
        notes = annotate(drawn, CFG)
        quarter_turns = int(drawn["labels"])
        assert notes.captions == ["upright" if quarter_turns == 0 else f"rotated by {90 * quarter_turns} degrees"]
        assert notes.up == [90 * quarter_turns]
