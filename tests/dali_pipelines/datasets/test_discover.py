"""Which files are videos, what they are called, and their labels."""

import pytest

from configs.errors import UserError
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.labels import read_labels


def test_two_videos_of_one_name_are_refused_by_both_their_paths(tmp_path):
    for folder, suffix in (("x", "mp4"), ("y", "avi")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a.{suffix}").write_bytes(b"")
    with pytest.raises(UserError, match=rf"named 'a': {tmp_path}/x/a.mp4 and {tmp_path}/y/a.avi"):
        find_videos([tmp_path / "x", tmp_path / "y"], outside=tmp_path / "out")


def test_a_file_is_taken_whatever_its_suffix_and_a_loop_of_links_ends(tmp_path):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "strange.dat").write_bytes(b"")
    (tmp_path / "in" / "sub" / "a.MP4").write_bytes(b"")
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mkv").write_bytes(b"")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    found = find_videos([tmp_path / "strange.dat", tmp_path / "in"], outside=tmp_path / "out")
    assert list(found) == ["linked/b", "strange", "sub/a"]


def test_labels_from_a_csv_file_are_ids_or_class_names(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("name,label\nx/a.avi,swim\nb,run\nc.d,swim\n")
    assert read_labels(str(path), ["x/a", "b", "c.d"]) == ({"x/a": 1, "b": 0, "c.d": 1}, ("run", "swim"))
    path.write_text("x/a,3\nb,0\n")
    assert read_labels(str(path), ["x/a", "b"]) == ({"x/a": 3, "b": 0}, ("0", "1", "2", "3"))
    assert read_labels("none", ["x/a"]) == ({"x/a": -1}, ())
    assert read_labels("folders", ["x/a", "b"]) == ({"x/a": 0, "b": -1}, ("x",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,1\n", "has no label for 2 of the videos: b, c"),
        ("a,1\nb,1\nc,1\nx,1\ny.avi,2\n", "has labels for 2 videos that are not there: x, y"),
        ("a\n", "a line must be name,label and not 'a'"),
    ],
)
def test_labels_that_do_not_fit_the_videos_are_an_error(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_labels(str(tmp_path / "labels.csv"), ["a", "b", "c"])
