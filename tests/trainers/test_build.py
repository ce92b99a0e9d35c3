"""How a run is put together from its recipe."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import UserError
from configs.schema import Train
from nets.tasks import Pretext
from tests.helpers.ranks import ALONE
from trainers.engine.build import batch_per_rank, wrap


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 4))
def test_batch_is_divided_evenly_or_refused(global_batch, world_size, accumulate):
    train = Train(epochs=1, global_batch=global_batch, accumulate=accumulate)
    try:
        assert batch_per_rank(train, world_size) * world_size * accumulate == global_batch
    except UserError as error:
        assert global_batch % (world_size * accumulate)
        message, _, ranks = str(error).partition(". A resumed run keeps its batch; numbers of ranks that fit: ")
        assert batch_per_rank(replace(train, global_batch=int(message.rsplit(" ", 1)[1])), world_size) >= 1
        for other in ranks.split(", ") if ranks else ():
            assert batch_per_rank(train, int(other)) >= 1
        assert bool(ranks) == (global_batch % accumulate == 0)


@pytest.mark.parametrize(("compiler", "named"), [(None, r"g\+\+"), ("no-such-compiler", "no-such-compiler")])
def test_to_compile_without_a_compiler_is_refused(monkeypatch, tmp_path, compiler, named):
    """The first step ended in a page of torch's frames."""
    monkeypatch.delenv("CXX", raising=False)
    if compiler:
        monkeypatch.setenv("CXX", compiler)
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=rf"^train\.compile needs a compiler, and there is no {named}: install"):
        wrap(Pretext(), Train(epochs=1, compile=True), ALONE)
