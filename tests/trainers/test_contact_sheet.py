"""The contact sheet, read back pixel by pixel."""

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageOps

from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.draw import LINE
from dali_pipelines.store.reader import read_clip
from trainers.evaluation.contact_sheet import BORDER, OTHER, QUERY, SAME, THUMB, UNREADABLE, Item, choose, draw

COLORS = [QUERY, SAME, OTHER, OTHER]
HEIGHT, WIDTH = THUMB[1] + 2 * BORDER, THUMB[0] + 2 * BORDER


def tiles(sheet: Image.Image, color: str) -> set[tuple[int, int]]:
    """Find the (y, x) of all frames with a border of a color by its shape in the pixels."""
    mask = (np.array(sheet) == ImageColor.getrgb(color)).all(2)
    filled = np.pad(mask.astype(int), ((1, 0), (1, 0))).cumsum(0).cumsum(1)

    def all_set(height: int, width: int) -> np.ndarray:
        """Return for each pixel whether the box that starts there is filled with the color, bool."""
        sums = filled[height:, width:] - filled[:-height, width:] - filled[height:, :-width] + filled[:-height, :-width]
        return sums == height * width

    rows, columns = sheet.height - HEIGHT + 1, sheet.width - WIDTH + 1
    across, down = all_set(BORDER, WIDTH), all_set(HEIGHT, BORDER)
    found = (
        across[:rows, :columns]
        & across[HEIGHT - BORDER :, :columns][:rows]
        & down[:rows, :columns]
        & down[:rows, WIDTH - BORDER :][:, :columns]
    )
    return {(y, x) for y, x in np.argwhere(found).tolist()}


def inside(sheet: Image.Image, place: tuple[int, int]) -> np.ndarray:
    y, x = place
    return np.array(sheet)[y + BORDER : y + HEIGHT - BORDER, x + BORDER : x + WIDTH - BORDER]


@pytest.fixture(scope="module")
def sheet(vp9_store) -> Image.Image:
    return draw("title", [[Item(vp9_store, 3 * c + r, COLORS[c], "0.5") for c in range(4)] for r in range(3)])


def test_videos_have_colored_borders_in_rows_and_columns(sheet):
    places = {color: tiles(sheet, color) for color in set(COLORS)}
    assert [len(places[color]) for color in (QUERY, SAME, OTHER)] == [3, 3, 6]
    columns = {color: sorted({x for _, x in found}) for color, found in places.items()}
    (query,), (same,), others = columns[QUERY], columns[SAME], columns[OTHER]
    assert query < same < others[0] < others[1]
    assert {y for y, _ in places[QUERY]} == {y for y, _ in places[SAME]} == {y for y, _ in places[OTHER]}
    assert others[1] + WIDTH <= sheet.width


def test_tiles_show_the_whole_middle_frame(sheet, vp9_store):
    for number, place in enumerate(sorted(tiles(sheet, SAME))):
        row = 3 + number
        frames = 40 + int(vp9_store.names.text(row)[-2:])
        (frame,) = decode_rgb(read_clip(vp9_store, row, np.array([frames // 2])))
        assert (inside(sheet, place) == np.array(ImageOps.pad(Image.fromarray(frame), THUMB, color="white"))).all()
    assert (inside(sheet, sorted(tiles(sheet, QUERY))[0])[:, 0] == 255).all()  # an upright video has white sides


def test_every_tile_has_its_own_caption(sheet):
    below = [
        np.array(sheet)[y + HEIGHT : y + HEIGHT + 3 * LINE, x : x + WIDTH]
        for y, x in [sorted(tiles(sheet, color))[0] for color in (QUERY, OTHER)]
    ]
    assert all((words < 128).any() for words in below)
    lines = ([words[LINE * line :][:LINE] for words in below] for line in range(3))
    first, *rest = (np.array_equal(one, other) for one, other in lines)
    assert (first, rest) == (True, [False, False])  # same words, different class and name


def test_an_unlabeled_video_has_no_class_caption(vp9_store):
    unlabeled = vp9_store.with_columns(labels=np.full(len(vp9_store), -1))
    drawn = [draw("title", [[Item(index, 0, QUERY, "query")]]) for index in (vp9_store, unlabeled)]
    for sheet, named in zip(drawn, (True, False), strict=True):
        ((y, x),) = tiles(sheet, QUERY)
        below = np.array(sheet)[y + HEIGHT + LINE : y + HEIGHT + 2 * LINE, x : x + WIDTH]
        assert (below < 128).any() == named


def test_a_missing_video_is_a_gray_tile(own_store):
    own_store.path(1).unlink()
    gone = draw("title", [[Item(own_store, 0, QUERY, "query"), Item(own_store, 1, OTHER, "0.5")]])
    ((place, *_),) = [sorted(tiles(gone, OTHER))]
    assert (inside(gone, place) == ImageColor.getrgb(UNREADABLE)).all()


def test_queries_shown_are_half_hits_and_cover_the_classes():
    labels = np.tile(np.arange(10), 20)
    hits = np.arange(200) % 3 == 0
    chosen = np.array(choose(labels, hits, 12))
    assert hits[chosen].sum() == 6
    assert labels[chosen].tolist() == sorted(labels[chosen])
    for kind in (hits, ~hits):
        assert len({*labels[chosen[kind[chosen]]].tolist()}) == 6


@pytest.mark.parametrize(
    ("right", "wrong", "shown"), [(30, 2, (10, 2)), (1, 30, (1, 11)), (3, 4, (3, 4)), (0, 5, (0, 5))]
)
def test_rare_hits_or_misses_are_filled_up_with_the_other(right, wrong, shown):
    hits = np.array([True] * right + [False] * wrong)
    chosen = choose(np.zeros(len(hits), np.int64), hits, 12)
    assert len({*chosen}) == len(chosen)
    assert (int(hits[chosen].sum()), int((~hits[chosen]).sum())) == shown
