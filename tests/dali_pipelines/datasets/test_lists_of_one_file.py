"""A list of one file is recognized by its content: which column names the videos, which has their classes."""

import csv

import pytest

from configs.errors import UserError
from dali_pipelines.datasets.formats import read_lists
from dali_pipelines.datasets.open import open_dataset
from tests.helpers.indexes import build
from tests.helpers.lists_of_makers import CLASS_OF_UCF, FILES, FRAMES, KINETICS, UCF

UNLABELED = {"testlist01.txt", "val_list.txt", "train_split03.csv", "kinetics.csv", "names.json"}


@pytest.mark.parametrize("name", FILES)
def test_single_file_lists_match_the_folder_classes(tmp_path, name):
    """This includes the CSVs of CPC and Concepts and the JSON of CtP."""
    build(tmp_path, *UCF, classes=CLASS_OF_UCF, frames=FRAMES)
    (tmp_path / name).write_text(FILES[name], newline="")
    dataset = open_dataset(tmp_path, tmp_path / name, labeled=True)
    assert dataset.index.names.texts() == UCF
    assert dataset.index.labels.tolist() == [0, 1, 2]
    assert (dataset.labels is None) == (name in UNLABELED)


@pytest.mark.parametrize("name", sorted(FILES.keys() - UNLABELED))
def test_labels_of_a_list_become_classes_if_the_dataset_has_none(tmp_path, name):
    build(tmp_path, *UCF, frames=FRAMES)
    (tmp_path / name).write_text(FILES[name], newline="")
    index = open_dataset(tmp_path, tmp_path / name, labeled=True).index
    classes = [index.class_names[label] for label in index.labels]
    assert classes in (["0", "1", "2"], ["1", "37", "101"], ["0", "36", "100"], [*CLASS_OF_UCF.values()])


@pytest.mark.parametrize("name", sorted(UNLABELED))
def test_unlabeled_list_for_unlabeled_videos_is_refused(tmp_path, name):
    build(tmp_path, *UCF, frames=FRAMES)
    (tmp_path / name).write_text(FILES[name], newline="")
    with pytest.raises(UserError, match=r"3 videos without a class.* has no labels .*; .*clipfeed lists"):
        open_dataset(tmp_path, tmp_path / name, labeled=True)


def test_frame_counts_are_not_taken_for_labels(tmp_path):
    names = [f"run/{number:02d}" for number in range(6)]
    build(tmp_path, *names)
    (tmp_path / "list.csv").write_text("".join(f"{name},{200 + 7 * i},{i % 3}\n" for i, name in enumerate(names)))
    assert open_dataset(tmp_path, tmp_path / "list.csv").labels == ("0", "1", "2") * 2
    (tmp_path / "list.csv").write_text("".join(f"{name},{200 + 7 * i}\n" for i, name in enumerate(names)))
    assert open_dataset(tmp_path, tmp_path / "list.csv").labels is None


def test_byte_order_mark_is_ignored(tmp_path):
    build(tmp_path, *UCF, classes=CLASS_OF_UCF, frames=FRAMES)
    for name, text in FILES.items():
        for encoding in ("utf-8-sig", "utf-16"):
            (tmp_path / name).write_bytes(text.encode(encoding))
            assert open_dataset(tmp_path, tmp_path / name).index.names.texts() == UCF


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "name,label\na,1\nb\n", r"a.csv: a line must have the 2 columns name,label, and not 'b'"),
        ("a.json", '[{"name": "a", "label": 1}, {"nome": "b"}]', r"must have one of name, .*and not .*'nome': 'b'"),
        ("a.json", '{"version": "1.3", "taxonomy": []}', r"name: label, and not \"\{'taxonomy': \[\]\}\""),
        ("a.json", '{"database": {"a": {"annotations": []}}}', r"with name and label.*'database': \{'a'"),
        ("a.json", '[{"name": ["a"]}]', r"names and labels must be texts or integers"),
        ("a.json", "[1, 2]", r"objects with name and label, names, or name: label, and not '1'"),
        ("a.json", '[{"name": "a"', r"a.json': not JSON: .*line 1 column 14"),
        ("a.json", "[" * 100_000, r"a.json': not JSON"),
        (
            "k.csv",
            KINETICS.format(cc="") + "run,ID,x,2,train\n",
            r"time_start and .*, and not 'run,ID,x,2,train'",
        ),
        (
            "a.json",
            '[{"nome": "\\u001b[31m' + "x" * 5000 + '"}]',
            r"not \"\{'nome': '\\\\x1b\[31mxx.{1,60} \.\.\. .{1,70}$",
        ),
    ],
)
def test_a_bad_line_is_quoted_shortened_and_escaped(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        read_lists(tmp_path / name)


def test_a_column_of_first_frames_is_no_column_of_classes(tmp_path):
    names = [f"{number:02d}" for number in range(6)]
    build(tmp_path, *names)
    (tmp_path / "list.csv").write_text("".join(f"{name},0,{200 + 7 * i},{i % 3}\n" for i, name in enumerate(names)))
    assert open_dataset(tmp_path, tmp_path / "list.csv").labels == ("0", "1", "2") * 2


AVA = "b,0902,0.077,0.151,0.283,0.811,80,1\na,0903,0.226,0.032,0.366,0.497,12,0\n"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("b\t0.0\t2.5\trun\na\t2\t4\twalk\n", ("run", "walk")),
        ("b,00:00:01.5,00:00:02,1\na,00:01:00,00:02:00.25,0\n", ("1", "0")),
        ("b,0.0,2.5,val,run\na,2.5,4,val,walk\n", None),  # val, or run?
        (AVA, None),
        ("video;start_frame;stop_frame;label\nb;1;20;run\na;21;40;walk\n", ("run", "walk")),
        ("starttime,id,label\n1,b,run\n2,a,walk\n", ("run", "walk")),
        ('[{"id": "b", "start": 1, "label": "run"}, {"id": "a", "start": 2, "label": "walk"}]', ("run", "walk")),
    ],
)
def test_times_are_no_classes_and_a_note_says_that_they_are_not_read(tmp_path, text, labels):
    build(tmp_path, "a", "b")
    (tmp_path / "parts").write_text(text)
    dataset = open_dataset(tmp_path, tmp_path / "parts")
    assert ([*dataset.index.names.texts()], dataset.labels) == (["b", "a"], labels)
    assert any("states times, which are not read: a video is taken whole" in note for note in dataset.notes)


@pytest.mark.parametrize("text", ["b,1.0\na,0.0\n", "name,label,segment_id\nb,1.0,7\na,0.0,8\n"])
def test_classes_that_a_program_wrote_with_decimals_are_classes(tmp_path, text):
    build(tmp_path, "a", "b")
    (tmp_path / "list").write_text(text)
    dataset = open_dataset(tmp_path, tmp_path / "list")
    assert dataset.labels == ("1.0", "0.0")
    assert not dataset.parts


def test_titles_of_columns_may_have_digits(tmp_path):
    """As in the CSV of HowTo100M."""
    build(tmp_path, "a", "b")
    (tmp_path / "list.csv").write_text("video_id,category_1,category_2,rank\nb,Food,Recipes,34\na,Food,Drinks,7\n")
    assert [*open_dataset(tmp_path, tmp_path / "list.csv").index.names.texts()] == ["b", "a"]


def test_a_name_in_a_csv_may_have_a_line_break(tmp_path):
    names = "a\nb", "c,d", 'e"f'
    with (tmp_path / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("name", "label"), *zip(names, "xyx", strict=True)])
    (reading,) = read_lists(tmp_path / "mine.csv").entries["mine.csv"]
    assert tuple(reading.names) == names
