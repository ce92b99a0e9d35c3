"""configs.load: what a recipe may say, and how it answers a mistake."""

import re
import sys
import types
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import nearest, schema
from configs.errors import UserError
from configs.load import _dotted, dump, load, parse
from configs.schema import Config, Data, LabeledData, Optim, Schedule, Train, batch_per_rank

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*/*.yaml"))


@dataclass(frozen=True)
class Reference:
    truncate: bool = False


@dataclass(frozen=True)
class FakePlan:
    size: int = 112
    strides: tuple[int, ...] = (1, 2)
    pair: tuple[float, str] = (0.5, "a")
    mode: Literal["random", "linear"] = "random"
    reference: Reference = field(default_factory=Reference)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size = {self.size} must be at least 1")


@dataclass(frozen=True)
class FakeNet:
    hidden: int | None = None


@pytest.fixture(autouse=True, scope="module")
def fake_task():
    """A task "fake" on both sides."""
    with pytest.MonkeyPatch.context() as patch:
        for package, config in {"dali_pipelines.tasks": FakePlan, "nets.tasks": FakeNet}.items():
            module = types.ModuleType(f"{package}.fake")
            module.__dict__["Config"] = config
            patch.setitem(sys.modules, module.__name__, module)
        yield


BASE = """
task: fake
backbone: r3d_tiny
work_dir: runs/x
data: {root: data/x}
train: {epochs: 3}
"""


def read(more: str = "", *overrides: str) -> Config:
    return parse(BASE + more, source="x.yaml", overrides=overrides)


def message(more: str = "", *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        read(more, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_the_originals_hyperparameters():
    config = read()
    assert config.optim == Optim(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-4, clip_norm=40.0)
    assert (config.train.global_batch, config.train.sync_bn, config.train.amp) == (32, True, "off")
    assert (config.seed, config.plan, config.net) == (7, FakePlan(), FakeNet())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_loads_and_its_printed_form_loads_to_the_same(path):
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


@pytest.mark.parametrize(
    ("more", "key", "hint"),
    [
        ("optim: {lrr: 0.1}", "optim.lrr", "optim.lr?"),
        ("lr: 0.1", "lr", "optim.lr?"),
        ("plan: {reference: {trunctate: true}}", "plan.reference.trunctate", "plan.reference.truncate?"),
        ("schedul: {kind: step}", "schedul", "schedule?"),
        ("zzqqxx: 1", "zzqqxx", "no such key"),
        ("7: 1", "7", "no such key"),
        # U12: what other programs call it, and keys of other sections
        ("optim: {learning_rate: 1}", "optim.learning_rate", "optim.lr?"),
        ("optim: {epochs: 1}", "optim.epochs", "train.epochs?"),
        ("batch_size: 32", "batch_size", "train.global_batch?"),
    ],
)
def test_unknown_key_names_file_key_and_the_nearest_right_one(more, key, hint):
    text = message(more)
    assert text.startswith(f"x.yaml: {key}: no such key")
    assert text.endswith(hint)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("seed: 1.5", "x.yaml: seed: expected a whole number, got 1.5"),
        ("seed: true", "x.yaml: seed: expected a whole number, got True"),
        ("seed: '7'", "x.yaml: seed: expected a whole number, got '7'"),
        ("optim: {lr: fast}", "x.yaml: optim.lr: expected a number, got 'fast'"),
        ("optim: {lr: true}", "x.yaml: optim.lr: expected a number, got True"),
        ("optim: {lr: nan}", "x.yaml: optim.lr: expected a number, got 'nan'"),
        ("optim: {lr: null}", "x.yaml: optim.lr: expected a number, got None"),
        (
            "schedule: {by: epochs}",
            "x.yaml: schedule.by: expected one of epoch, iteration, got 'epochs'; did you mean epoch?",
        ),
        ("optim: [1]", "x.yaml: optim: expected a section with keys"),
        ("optim:", "x.yaml: optim: expected a section with keys"),
        (
            "schedule: {milestones: 100}",
            "schedule.milestones: expected a list with each item a whole number, got 100",
        ),
        ("schedule: {milestones: [1, b]}", "schedule.milestones.1: expected a whole number, got 'b'"),
        ("plan: {pair: [1]}", "plan.pair: expected a list of 2: a number, text, got [1]"),
        ("plan: {reference: {truncate: 1}}", "plan.reference.truncate: expected true or false, got 1"),
        ("plan: {reference: {truncate: yes}}", "plan.reference.truncate: expected true or false, got 'yes'"),
        ("net: {hidden: wide}", "net.hidden: expected a whole number or null, got 'wide'"),
        # G29: null, and what Python calls it
        ("optim: {clip_norm: fast}", "x.yaml: optim.clip_norm: expected a number or null, got 'fast'"),
        ("optim: {clip_norm: None}", "expected a number or null, got 'None'; YAML's word for none is null"),
    ],
)
def test_wrong_type_names_key_expectation_and_value(more, expected):
    assert expected in message(more)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("optim: {lr: 0}", "x.yaml: optim.lr = 0.0 must be greater than 0"),
        ("optim: {lr: .inf}", "optim.lr = inf"),
        ("optim: {lr: .nan}", "optim.lr = nan"),
        ("optim: {clip_norm: -1}", "optim.clip_norm = -1.0"),
        (
            "schedule: {milestones: [2, 1]}",
            "schedule.milestones = [2, 1] must be positive and strictly increasing",
        ),
        ("schedule: {milestones: [1, 3]}", "schedule.milestones = [1, 3] must be below train.epochs = 3"),
        (
            "schedule: {kind: cosine, milestones: [1]}",
            "schedule.milestones = [1] must be empty unless kind is step",
        ),
        ("plan: {size: 0}", "x.yaml: plan.size = 0 must be at least 1"),
        ("seed: -1", "x.yaml: seed = -1 must be 0 or more"),
    ],
)
def test_impossible_values_are_refused_with_the_number(more, expected):
    assert expected in message(more)


def test_numbers_are_taken_in_the_forms_people_write():
    assert read("optim: {lr: 1, weight_decay: 1e-4}").optim == Optim(lr=1.0, weight_decay=1e-4)
    assert isinstance(read("optim: {lr: 1}").optim.lr, float)
    assert read("net: {hidden: 5}").net.hidden == 5
    assert read("net: {hidden: null}").net.hidden is None


def test_off_is_text_and_not_a_boolean():
    text = BASE.replace("{epochs: 3}", "{epochs: 3, amp: off}")
    assert parse(text, source="x").train.amp == "off"


def test_missing_keys_and_sections_are_named():
    with pytest.raises(UserError, match=r"^x: data\.root: missing; expected text$"):
        parse(BASE.replace("{root: data/x}", "{}"), source="x")
    with pytest.raises(UserError, match=r"^x: train: missing; expected a section$"):
        parse(BASE.replace("train: {epochs: 3}", ""), source="x")
    with pytest.raises(UserError, match=r"^x: task: missing"):
        parse("seed: 1", source="x")
    with pytest.raises(UserError, match=r"expected keys such as"):
        parse("", source="x")


def test_unknown_task_names_those_that_exist():
    with pytest.raises(UserError, match=r"x: task: no task 'ctpp'; did you mean ctp\?; there are: .*ctp"):
        parse(BASE.replace("task: fake", "task: ctpp"), source="x")


def test_syntax_errors_and_double_keys_name_file_and_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("task: fake\nbackbone: [1, 2\ndata: {}\n")
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))}, line 3: .* not valid YAML$"):
        load(path)
    path.write_text("seed: 1\ntask: fake\nseed: 2\n")
    with pytest.raises(UserError, match=r"line 3: key 'seed' is given twice"):
        load(path)
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="not a text file"):
        load(path)
    with pytest.raises(UserError, match=r"cannot read the config .*nowhere.yaml.*No such file"):
        load(tmp_path / "nowhere.yaml")


def test_overrides_take_the_same_path_and_later_ones_win():
    config = read(
        "",
        "optim.lr=1e-3",
        "optim.lr=2e-3",
        "schedule.milestones=[1, 2]",
        "data.list=a.txt",
        "net={hidden: 3}",
    )
    assert (config.optim.lr, config.schedule.milestones, config.data.list) == (2e-3, (1, 2), "a.txt")
    assert config.net == FakeNet(hidden=3)


def test_an_override_of_a_section_keeps_the_keys_that_it_does_not_name():
    """G25: --set 'data={root: x}' dropped data.list, and all videos were taken."""
    more = "plan: {size: 64, reference: {truncate: true}}"
    config = read(more, "data.list=a.txt", "data={root: other}", "plan={reference: {}, pair: [0.5, b]}")
    assert config.data == Data(root="other", list="a.txt")
    assert config.plan == FakePlan(size=64, pair=(0.5, "b"), reference=Reference(truncate=True))


@pytest.mark.parametrize("name", ["configs/ctp/demo.yaml", "ctp/demo.yaml", "ctp/demo"])
def test_a_recipe_of_ours_is_found_by_name_from_any_folder(tmp_path, monkeypatch, name):
    """G28."""
    monkeypatch.chdir(tmp_path)
    assert load(name) == load(Path(schema.__file__).parent / "ctp" / "demo.yaml")
    mine = tmp_path / "configs" / "ctp" / "demo.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(BASE)
    assert (load(name).task == "fake") == (name == "configs/ctp/demo.yaml")  # a file that is there comes first


def test_names_that_others_use_stand_for_keys_that_exist_and_for_one_each():
    """U12."""
    keys = set(nearest.ALIASES) - {"plan.num_frames", "plan.size", "plan.stride"}  # of tasks
    known = _dotted(get_type_hints(schema.Recognition))
    assert keys <= set(known)
    words = [word for of_key in nearest.ALIASES.values() for word in of_key]
    assert len(words) == len(set(words))
    assert not {key.rpartition(".")[2] for key in known} & set(words) - {"optim", "tensorboard"}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("optim.lrr=1", "--set optim.lrr: no such key; did you mean optim.lr?"),
        ("optim.lr=fast", "--set optim.lr: expected a number, got 'fast'"),
        ("optim.lr=-1", "--set optim.lr = -1.0 must be greater than 0"),
        ("optim.lr", "--set optim.lr: expected key=value"),
        ("task.x=1", "--set task.x=1: 'task' is not a section"),
        ("optim.lr=[", "--set optim.lr=[, line 1:"),
        ("train.warmup=5", "--set train.warmup: no such key; did you mean schedule.warmup_iters?"),  # G30
        ("train.clip_nrm=5", "--set train.clip_nrm: no such key; did you mean optim.clip_norm?"),
        ("net={hiden: 3}", "--set net.hiden: no such key; did you mean net.hidden?"),
    ],
)
def test_a_wrong_override_is_blamed_on_the_command_line(item, expected):
    assert message("", item).startswith(expected)


def test_an_override_does_not_take_the_blame_for_the_file():
    assert message("seed: x", "optim.lr=1").startswith("x.yaml: seed")


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
words = st.one_of(texts, st.sampled_from(["off", "yes", "null", "1e-4", "true", "012", "1:30", "~", "2026-01-01", "#"]))
positive = st.floats(1e-12, 1e12)
configs = st.builds(
    Config,
    task=st.just("fake"),
    backbone=words,
    work_dir=words,
    seed=st.integers(0, 2**62),
    data=st.builds(Data, root=words, list=st.none() | words, workers=st.integers(0, 99), threads=st.integers(1, 99)),
    plan=st.builds(
        FakePlan,
        strides=st.lists(st.integers()).map(tuple),
        pair=st.tuples(st.floats(allow_nan=False), words),
        reference=st.builds(Reference, truncate=st.booleans()),
    ),
    net=st.builds(FakeNet, hidden=st.none() | st.integers()),
    optim=st.builds(Optim, lr=positive, clip_norm=st.none() | positive, weight_decay=st.floats(0, 1)),
    schedule=st.builds(
        Schedule,
        by=st.just("iteration"),
        milestones=st.sets(st.integers(1, 10**6)).map(sorted).map(tuple),
        gamma=positive,
    ),
    train=st.builds(Train, epochs=st.integers(1, 10**6), amp=st.sampled_from(["bf16", "off"])),
)


@given(configs)
def test_a_printed_config_loads_to_the_same(config):
    assert parse(dump(config), source="printed") == config


@given(st.integers(1, 64), st.integers(1, 16), st.integers(1, 4))
def test_batch_is_divided_evenly_or_refused(global_batch, world_size, accumulate):
    train = Train(epochs=1, global_batch=global_batch, accumulate=accumulate)
    try:
        assert batch_per_rank(train, world_size) * world_size * accumulate == global_batch
    except ValueError as error:
        assert global_batch % (world_size * accumulate)
        message, _, ranks = str(error).partition(". A run that goes on keeps its own, and can have ")
        assert batch_per_rank(replace(train, global_batch=int(message.rsplit(" ", 1)[1])), world_size) >= 1
        for other in ranks.removesuffix(" ranks").split(", ") if ranks else ():
            assert batch_per_rank(train, int(other)) >= 1
        assert bool(ranks) == (global_batch % accumulate == 0)


def test_keys_of_before_the_american_spelling_are_still_read():
    text = BASE.replace("task: fake", "task: recognition") + "optim: {lr: 1}\nplan: {normalisation: half}\n"
    assert parse(text, source="x").plan.normalization == "half"


def test_a_split_that_a_list_does_not_heed_is_refused():
    """G20: it was ignored, and the test said "is tested on split 2"."""
    data = LabeledData(root="d", list="train{split}.txt", test_list="test.txt", split=2)
    assert data.list_of("train") == "d/train2.txt"
    with pytest.raises(UserError, match=r"data.split = 2 changes nothing in data.test_list = 'test.txt': put {split} "):
        data.list_of("test")
    assert replace(data, split=1).list_of("test") == "d/test.txt"
    assert replace(data, list=None).list_of("train") is None
