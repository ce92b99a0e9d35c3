"""Names are found however people write them, and never match another video."""

import re
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.datasets.names import AMBIGUOUS, Names, match
from dali_pipelines.datasets.open import open_dataset
from tests.helpers.indexes import build, listing, quarantine

HELD = ("Surfing/video", "Surfing/video (1)", "run/a", "run/b c", "walk/a", "walk/e.f", "walk/take")
PARTS = st.text("ab .-_é(1)", min_size=1, max_size=5).map(str.strip).filter(lambda part: part.strip(". "))


def find(written: str, *held: str, quarantined: tuple[str, ...] = ()) -> str | None:
    names = Names(held or HELD, quarantined)
    row = names.find(written)
    assert row != AMBIGUOUS, names.candidates(written)
    return None if row is None else [*names.names, *quarantined][row]


@pytest.mark.parametrize(
    "written",
    [
        *("run/a", "run/a.avi", "run/a.AVI", "run/a.mp4 ", "./run/a", "run//a", "run/./a.zip", "run/a/"),
        *("/root/ucf/train/run/a", "UCF-101/run/a.avi", "../frames/run/a", r"run\a.avi", r"D:\videos\run\a.mp4"),
        *("\ufeffrun/a.avi", "file:///x/run/a.mp4", "RUN/a"),
    ],
)
def test_every_spelling_of_a_path_is_found(written):
    assert find(written) == "run/a"


@pytest.mark.parametrize(
    ("written", "name"), [("b c.mp4", "run/b c"), ("e.f", "walk/e.f"), ("x/e.f.avi", None), ("Surfing/e.f", None)]
)
def test_a_unique_basename_is_enough_but_not_in_another_folder(written, name):
    assert find(written) == name


def test_names_may_lack_the_outer_folders_of_the_dataset():
    assert find("run/a.avi", "train/run/a", "train/walk/a") == "train/run/a"
    assert find("val/run/a.avi", "train/run/a", "train/walk/a") is None  # another split is another video
    assert find("/frames/run/a", "train/run/a") is None


def test_missing_video_names_the_nearest_one(tmp_path):
    build(tmp_path, *HELD)
    with pytest.raises(UserError, match=r"does not hold \(runs/b c.mp4\).*nearest name there is run/b c\. Names start"):
        open_dataset(tmp_path, listing(tmp_path, "runs/b c.mp4", "run/a.mp4"))


def test_a_latin_1_list_is_refused_with_a_note_on_its_encoding(tmp_path):
    build(tmp_path, *HELD, "run/café")
    path = tmp_path / "list.csv"
    path.write_bytes("name,label\nrun/café.mp4,x\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"\(run/caf\\udce9\.mp4\), nor .*csv; the list is not UTF-8: convert it"):
        open_dataset(tmp_path, path)
    with pytest.raises(UserError, match=r"that the sources do not hold: run/caf\\udce9\.mp4; the list is not UTF-8"):
        read_labels(str(path), ["run/café"])
    path.write_text("name,label\nrun/café.mp4,x\n", encoding="utf-8")
    assert open_dataset(tmp_path, path).index.names.texts() == ("run/café",)


def test_a_name_with_a_number_in_parentheses_is_its_own_video(tmp_path):
    build(tmp_path, *HELD)
    chosen = open_dataset(tmp_path, listing(tmp_path, "Surfing/video (1).mp4"))
    assert chosen.index.names.texts() == ("Surfing/video (1)",)
    for missing in ("Surfing/video (2).mp4", "walk/take.2", "walk/take 2.avi", "jump/a", "Surfing/a.mp4"):
        with pytest.raises(UserError, match=re.escape(f"does not hold ({missing})")):
            open_dataset(tmp_path, listing(tmp_path, missing, "run/a.avi"))


def test_a_missing_numbered_name_is_not_split_into_name_and_label(tmp_path):
    build(tmp_path, "walk/take", "walk/take 1", "walk/take 2")
    with pytest.raises(UserError, match=r"names 1 video .*does not hold \(walk/take 3\)"):
        open_dataset(tmp_path, listing(tmp_path, "walk/take 1", "walk/take 2", "walk/take 3"))


def test_an_ambiguous_basename_names_both_videos(tmp_path):
    build(tmp_path, *HELD)
    with pytest.raises(UserError, match=r"a\.avi may be any of run/a, walk/a; write the name with its folders"):
        open_dataset(tmp_path, listing(tmp_path, "a.avi", "run/b c"))


def test_a_basename_shared_with_a_quarantined_video_names_both(tmp_path):
    build(tmp_path, "run/a", "run/b")
    quarantine(tmp_path, "/films/walk/a.avi")
    with pytest.raises(UserError, match=r"a\.avi may be any of /films/walk/a.avi, run/a;"):
        open_dataset(tmp_path, listing(tmp_path, "a.avi"))


def test_two_names_for_one_video_are_refused():
    with pytest.raises(UserError, match=r"l\.txt: x/a and y/a would both be the video a; write the names"):
        match(Names(["a", "b"]), [["x/a", "b", "y/a"]], "l.txt")
    assert match(Names(["run/a"]), [["a.mp4", "./run/a", "run/a.avi", "a.mp4"]], "l.txt") == (0, [0, 0, 0, 0])


@pytest.mark.parametrize(("listed", "stored"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_unicode_forms_of_a_name_are_equal(tmp_path, listed, stored):
    name = "Surfing/café ñ"
    build(tmp_path, normalize(stored, name), "run/a")
    chosen = open_dataset(tmp_path, listing(tmp_path, "run/a.mp4", normalize(listed, name) + ".mp4"))
    assert chosen.index.names.texts() == ("run/a", normalize(stored, name))


def test_class_folders_match_loosely_and_files_exactly():
    stored = ("HandStandPushups/v_HandStandPushups_g01_c01", "shooting_goal_soccer/aBc", "massaging persons head/x")
    assert find("HandstandPushups/v_HandStandPushups_g01_c01.avi", *stored) == stored[0]
    assert find("shooting goal (soccer)/aBc.mp4", *stored) == stored[1]
    assert find("massaging person's head/x", *stored) == stored[2]
    assert find("shooting goal (soccer)/AbC.mp4", *stored) is None  # YouTube ids are case-sensitive
    assert find("HandStandPushups/a", "HandstandPushups/a", "HandStandPushups/a") == "HandStandPushups/a"
    both = Names(["HandstandPushups/a", "HandStandPushups/a"])
    assert both.find("handstandpushups/a") == AMBIGUOUS


def slow_reference(written: str, held: list[str]) -> int | None:
    parts = normalize("NFC", written).split("/")
    flat = not any("/" in name for name in held)
    for start in range(len(parts)):
        rows = [row for row, name in enumerate(held) if normalize("NFC", name).split("/") == parts[start:]]
        if rows and (start < len(parts) - 1 or flat):
            return rows[0] if len(rows) == 1 else AMBIGUOUS
    return None


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8, unique=True), st.data())
def test_names_are_found_as_by_a_slow_search(held, data):
    names = Names(held)
    row = data.draw(st.integers(0, len(held) - 1))
    assert names.find(held[row]) == row
    if "/" in held[row]:
        assert names.find(f"/some root/{held[row]}.mkv") == slow_reference(f"some root/{held[row]}", held)


def test_a_hundred_thousand_names_are_found_in_linear_time():
    """A quadratic search would take hours."""
    held = [f"class {number % 400}/{number:06d}" for number in range(100_000)]
    written = [f"/root/k/class_{number % 400}/{number:06d}.mp4" for number in range(0, 100_000, 10)]
    assert match(Names(held), [written], "l.txt") == (0, list(range(0, 100_000, 10)))
