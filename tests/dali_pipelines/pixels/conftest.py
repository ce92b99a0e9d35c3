"""Photos in videos, which no test may change."""

from functools import partial

import pytest

from dali_pipelines.store.index import Index
from tests.helpers.photos import make_photos

CODECS = ("h264", pytest.param("mjpeg", marks=pytest.mark.slow))
"""Limited and full range: a program sees decoded frames, and of VP9 and raw video they are as of H.264."""


@pytest.fixture(params=CODECS)
def store(request, made_once) -> Index:
    return Index.load(made_once(f"photos_{request.param}", partial(make_photos, codec=request.param)))
