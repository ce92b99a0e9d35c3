"""configs.load: what a recipe may say."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import schema
from configs.convert import LARGEST, SMALLEST
from configs.errors import UserError
from configs.load import dump, load, parse
from configs.optim import Optim, Schedule
from configs.schema import Config, Data, Train
from tests.helpers.recipes import BASE, FakeNet, FakePlan, Reference, read

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*/*.yaml"))


def test_defaults_are_the_originals_hyperparameters():
    config = read()
    assert config.optim == Optim(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4, clip_norm=40.0)
    assert (config.train.global_batch, config.train.sync_bn, config.train.amp) == (32, True, "off")
    assert (config.seed, config.plan, config.net) == (7, FakePlan(), FakeNet())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_survives_printing_and_loading(path):
    config = load(path)
    assert parse(dump(config), source="printed") == config


@pytest.mark.parametrize("arch", ["r3d18", "r2plus1d18"])
def test_ctp_recipes_have_the_published_schedule(arch):
    folder = Path(__file__).parents[2] / "configs" / "ctp"
    for name, epochs, milestones in [("ucf101", 300, (100, 200)), ("kinetics", 90, (30, 60))]:
        config = load(folder / f"{arch}_{name}.yaml")
        assert (config.task, config.backbone, config.train.epochs) == ("ctp", arch, epochs)
        assert config.schedule == Schedule(kind="step", by="epoch", milestones=milestones, gamma=0.1)
        assert config.optim == Optim()
        assert (config.train.global_batch, config.train.sync_bn) == (32, True)


def test_every_key_is_documented():
    source = Path(schema.__file__).read_text()
    fields = re.findall(r"^    (\w+): [^\n]*\n(\s+\"\"\")?", source, re.MULTILINE)
    assert len(fields) > 30
    assert [name for name, doc in fields if not doc] == []


def test_numbers_are_read_in_common_notations():
    assert read("optim: {lr: 1, weight_decay: 1e-4}").optim == Optim(lr=1.0, weight_decay=1e-4)
    assert isinstance(read("optim: {lr: 1}").optim.lr, float)
    for text, number in {"007": 7, "+.5": 0.5, "1_000.5": 1000.5, "2.": 2, "1.5e+2": 150, "1E-3": 0.001}.items():
        assert read("", f"optim.lr={text}").optim.lr == number
    for text, whole in {"0": 0, "-5": -5, "+5": 5, "1_000": 1000, "0x1F": 31}.items():
        assert read("", f"net.hidden={text}").net.hidden == whole
    for text in ("010", "._"):
        assert read("", f"data.list={text}").data.list == text
    assert read("net: {hidden: 5}").net.hidden == 5
    assert read("net: {hidden: null}").net.hidden is None


def test_off_is_read_as_text():
    text = BASE.replace("{epochs: 3}", "{epochs: 3, amp: off}")
    assert parse(text, source="x").train.amp == "off"


def test_overrides_are_parsed_as_yaml_and_later_ones_win():
    config = read(
        "",
        "optim.lr=1e-3",
        "optim.lr = 2e-3",
        "schedule.milestones=[1, 2]",
        "data.list=a.txt",
        "net={hidden: 3}",
    )
    assert (config.optim.lr, config.schedule.milestones, config.data.list) == (2e-3, (1, 2), "a.txt")
    assert config.net == FakeNet(hidden=3)


def test_overriding_a_section_keeps_its_other_keys():
    """`--set 'data={root: x}'` used to drop data.list, so all videos were used."""
    more = "plan: {size: 64, reference: {truncate: true}}"
    config = read(more, "data.list=a.txt", "data={root: other}", "plan={reference: {}, pair: [0.5, b]}")
    assert config.data == Data(root="other", list="a.txt")
    assert config.plan == FakePlan(size=64, pair=(0.5, "b"), reference=Reference(truncate=True))


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
words = st.one_of(
    texts,
    st.sampled_from(
        ["off", "yes", "null", "1e-4", "true", "012", "1:30", "1:30.5", "0x1F", "1_0", ".5", "~", "2026-01-01", "#"]
    ),
)
paths = words.filter(lambda text: "$" not in text and not text.startswith("~"))  # these would be expanded
positive = st.floats(1e-12, 1e9)
whole_numbers = st.integers(-LARGEST, LARGEST)
numbers = st.just(0.0) | st.floats(SMALLEST, LARGEST) | st.floats(-LARGEST, -SMALLEST)
configs = st.builds(
    Config,
    task=st.just("fake"),
    backbone=words,
    work_dir=paths,
    seed=st.integers(0, 2**62),
    data=st.builds(Data, root=paths, list=st.none() | paths, workers=st.integers(0, 99), threads=st.integers(1, 99)),
    plan=st.builds(
        FakePlan,
        strides=st.lists(whole_numbers).map(tuple),
        pair=st.tuples(numbers, words),
        reference=st.builds(Reference, truncate=st.booleans()),
    ),
    net=st.builds(FakeNet, hidden=st.none() | whole_numbers),
    optim=st.builds(Optim, lr=positive, clip_norm=st.none() | positive, weight_decay=st.just(0.0) | positive),
    schedule=st.builds(
        Schedule,
        by=st.just("iteration"),
        milestones=st.sets(st.integers(1, 10**6)).map(sorted).map(tuple),
        gamma=st.floats(SMALLEST, 1),
    ),
    train=st.builds(Train, epochs=st.integers(1, 10**6), amp=st.sampled_from(["bf16", "off"])),
)


@given(configs)
def test_a_printed_config_loads_unchanged(config):
    assert parse(dump(config), source="printed") == config


def test_a_default_that_no_recipe_can_hold_is_an_error():
    """NumPy's scalars ended in a traceback of YAML."""
    config = replace(read(), net=FakeNet(hidden=np.int64(3)))  # type: ignore[arg-type]  # as in a package of another
    message = (
        r"^task fake: a default of its Config is np\.int64\(3\), of type int64, which no recipe can hold: write it"
    )
    with pytest.raises(UserError, match=message):
        dump(config)


def test_old_british_keys_are_still_read():
    text = BASE.replace("task: fake", "task: recognition") + "optim: {lr: 1}\nplan: {normalisation: half}\n"
    assert parse(text, source="x").plan.normalization == "half"
