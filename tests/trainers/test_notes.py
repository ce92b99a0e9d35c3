"""Notes on lists of videos that make a result worthless."""

from tests.helpers.indexes import build
from trainers.evaluation.notes import notes_on


def test_a_single_training_class_gives_a_note(tmp_path):
    """As when the folder above the class folders was prepared."""
    classes = dict.fromkeys(("UCF-101/run/a", "UCF-101/walk/b"), "UCF-101")
    (note,) = notes_on(build(tmp_path, *classes, classes=classes), None)
    assert note.startswith("all training videos are of one class, UCF-101: there is nothing to tell apart")
    two = build(tmp_path, *classes, classes={"UCF-101/run/a": "run", "UCF-101/walk/b": "walk"})
    assert notes_on(two, None) == []
