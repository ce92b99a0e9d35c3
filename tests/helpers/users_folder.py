"""A folder with every path that the docs' Python uses."""

import shutil
from pathlib import Path

from dali_pipelines.store.index import Index
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.media import make_video
from trainers.engine import checkpoint


def make_users_folder(folder: Path, store: Index) -> Path:
    """Make a dataset in data/mine, a run of `ctp` in runs/mine, and two plain videos of two classes in videos."""
    shutil.copytree(store.root, folder / "data" / "mine")
    for name, frames in {"one/a": 40, "two/b": 24}.items():
        make_video(folder / "videos" / f"{name}.mp4", frames=frames)
    checkpoints = folder / "runs" / "mine" / "checkpoints"
    checkpoints.mkdir(parents=True)
    write_checkpoint(checkpoint.path_of(checkpoints, 6))
    return folder
