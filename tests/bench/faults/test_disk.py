"""bench.faults disk tells half a file from a whole one, and a disk has exactly the room it is given."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from bench.faults.disk.cases import CASES
from bench.faults.disk.full import Filler
from bench.faults.disk.small import PAGE, SmallDisk, damage
from configs.errors import UserError
from dali_pipelines.store.files import temporary_path
from tests.helpers.media import make_video


def saved(write) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def events(file) -> None:
    for step in range(3):
        RecordWriter(file).write(Event(step=step, file_version="brain.Event:2").SerializeToString())


def archive(file) -> None:
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("a", "b"):
            member = tarfile.TarInfo(name)
            member.size = 600
            tar.addfile(member, io.BytesIO(bytes(600)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    video = make_video(tmp_path_factory.mktemp("video") / "a.mp4", frames=16, extra=["-movflags", "frag_keyframe"])
    return {
        "step_00000001.pt": saved(lambda file: torch.save({"model": torch.ones(100)}, file)),
        "index.npz": saved(lambda file: np.savez(file, a=np.ones(100), b=np.ones(3))),
        "metrics.jsonl": b'{"step": 1}\n{"step": 2}\n',
        "result.json": json.dumps({"top1": [0.5, 0.6]}).encode(),
        "train.csv": b"step,loss\r\n1,2.0\r\n2,1.0\r\n",
        "0.tar": saved(archive),
        "a.mp4": video.read_bytes(),
        "events.out.tfevents.1.host": saved(events),
    }


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_half_written_files_are_detected(whole, share):
    assert damage(whole, {}, {}) == []
    halves = {name: data[: round(share * len(data))] for name, data in whole.items()}
    assert damage(halves, {}, {}) == [f"{name} is half written" for name in whole]
    assert damage(halves, halves, {}) == damage(halves, {}, halves) == []  # half before, or half undisturbed too


def test_leftover_and_missing_files_are_reported(tmp_path):
    part = temporary_path(tmp_path / "a.json").name
    assert damage({part: b"{}"}, {}, {}) == [f"{part} is left"]
    assert damage({}, {"a.json": b"{}"}, {"a.json": b"{}"}) == ["a.json is gone"]
    assert damage({}, {"old.pt": b""}, {}) == []  # the undisturbed command removes it too
    assert damage({"mine.txt": b"1"}, {"mine.txt": b"2"}, {"mine.txt": b"2"}) == ["mine.txt is half written"]


@pytest.mark.slow
def test_a_command_runs_on_disks_of_growing_size(tmp_path):
    try:
        with SmallDisk(tmp_path / "disk") as disk:
            disk.begin({"a": bytes(PAGE)})
            disk.limit({"pages": 3})
            with pytest.raises(OSError, match="No space left"):
                (disk.folder / "b").write_bytes(bytes(2 * PAGE))
            row = Filler(CASES["recipe"], tmp_path, disk, 2).row("recipe")
    except UserError as error:
        pytest.skip(str(error))
    assert row.passed, row.details
    assert row.injected == 3  # out of pages, out of files, read-only
