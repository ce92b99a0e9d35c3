"""Videos that must be encoded before evaluation, on several nodes."""

import pytest
import torch

from configs.errors import UserError
from tests.helpers.media import make_video, run_ffmpeg
from trainers.engine.distributed import Ranks
from trainers.evaluation.sources import open_videos


class BesideAnotherNode(Ranks):
    """Rank 0 with a peer that gives the same answers but has a temporary folder on its own node."""

    def gather_objects(self, mine: object) -> list[object]:
        return [mine, "/on/another/node"] if isinstance(mine, str) else [mine, mine]


def test_a_temporary_folder_not_shared_by_nodes_is_an_error(tmp_path):
    """Its videos were once unreadable on the other node."""
    (tmp_path / "videos").mkdir()
    sideways = make_video(tmp_path / "lying.mp4", frames=5, size=(96, 64))
    run_ffmpeg("-display_rotation", "90", "-i", sideways, "-c", "copy", tmp_path / "videos" / "phone.mp4")
    with pytest.raises(UserError, match=r"into /on/another/node, which not all nodes see: set TMPDIR"):
        open_videos([tmp_path / "videos"], BesideAnotherNode(torch.device("cpu")), workers=0)
