"""Videos as smooth as photos; tests must not change them."""

from functools import partial

import pytest

from dali_pipelines.store.index import Index
from tests.helpers.photos import make_photos

CODECS = ("h264", pytest.param("mjpeg", marks=pytest.mark.slow))
"""Limited and full range. A program sees decoded frames, which VP9 and raw video give as H.264 does."""


@pytest.fixture(params=CODECS)
def store(request, made_once) -> Index:
    return Index.load(made_once(f"photos_{request.param}", partial(make_photos, codec=request.param)))
