"""configs.load: how it answers a mistake in a recipe or an override."""

import re
from dataclasses import replace
from typing import get_type_hints

import pytest

from configs import nearest, schema
from configs.convert import dotted_keys
from configs.errors import UserError
from configs.load import load, parse
from configs.schema import LabeledData
from tests.helpers.recipes import BASE, message

RANGE = "; the magnitude of a number is 0, or from 1e-30 to 2147483647"


@pytest.mark.parametrize(
    ("more", "key", "hint"),
    [
        ("optim: {lrr: 0.1}", "optim.lrr", "optim.lr?"),
        ("lr: 0.1", "lr", "optim.lr?"),
        ("plan: {reference: {trunctate: true}}", "plan.reference.trunctate", "plan.reference.truncate?"),
        ("schedul: {kind: step}", "schedul", "schedule?"),
        ("plan: {speeds: 1}", "plan.speeds", "; plan has size, strides, pair, mode, reference"),
        ("optim: {zzqqxx: 1}", "optim.zzqqxx", "clip_norm, lr_factors, layer_decay"),
        ("zzqqxx: 1", "zzqqxx", "work_dir, seed, data, plan, net, optim, schedule, train"),
        ("7: 1", "7", "schedule, train"),
        # names from other programs, and keys of other sections
        ("optim: {learning_rate: 1}", "optim.learning_rate", "optim.lr?"),
        ("optim: {epochs: 1}", "optim.epochs", "train.epochs?"),
        ("batch_size: 32", "batch_size", "train.global_batch?"),
    ],
)
def test_unknown_key_names_file_key_and_nearest_key(more, key, hint):
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
        # numbers of YAML 1.1: octal, and of base 60
        ("plan: {size: 010}", "x.yaml: plan.size: expected a whole number, got '010'"),
        ("plan: {size: 1:30}", "x.yaml: plan.size: expected a whole number, got '1:30'"),
        ("plan: {size: 0b11}", "x.yaml: plan.size: expected a whole number, got '0b11'"),
        ("plan: {size: on}", "x.yaml: plan.size: expected a whole number, got 'on'"),
        ("optim: {clip_norm: 1:30.5}", "x.yaml: optim.clip_norm: expected a number or null, got '1:30.5'"),
        ("optim: {lr: .nan}", "x.yaml: optim.lr: expected a number, got nan"),
        ("schedule: {min_lr: .inf}", "x.yaml: schedule.min_lr: expected a number, got inf"),
        ("optim: {clip_norm: -.inf}", "x.yaml: optim.clip_norm: expected a number or null, got -inf"),
        (f"optim: {{lr: 1{'0' * 400}}}", "x.yaml: optim.lr: expected a number, got 1000"),
        ("plan: {size: 2147483648}", "x.yaml: plan.size: expected a whole number, got 2147483648" + RANGE),
        (
            "plan: {strides: [1, -99999999999999999999]}",
            "1: expected a whole number, got -99999999999999999999" + RANGE,
        ),
        (
            "net: {hidden: 99999999999999999999}",
            "net.hidden: expected a whole number or null, got 9999" + "9" * 16 + RANGE,
        ),
        ("optim: {lr: 1.0e-300}", "x.yaml: optim.lr: expected a number, got 1e-300" + RANGE),
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
        # null, and Python's name for it
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


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("train.epochs=2147483648", "train.epochs: expected a whole number, got 2147483648" + RANGE),
        ("train.epochs=010", "train.epochs: expected a whole number, got '010'"),
        ("train.timeout_s=1:30", "train.timeout_s: expected a number or null, got '1:30'"),
        ("train.timeout_s=1e300", "train.timeout_s: expected a number or null, got '1e300'" + RANGE),
        ("data.threads=2147483648", "data.threads: expected a whole number or one of auto, got 2147483648" + RANGE),
        ("data.threads=1025", "data.threads = 1025 must be auto, or from 1 to 1024"),
        ("data.workers=1025", "data.workers = 1025 must be from 0 to 1024"),
        (f"seed={2**63}", f"seed = {2**63} must be 0 or more, and less than 2**63"),
        ("seed=!!int x", "seed=!!int x: not valid YAML: invalid literal for int() with base 10: 'x'"),
        ("seed=!!bool x", "seed=!!bool x: not valid YAML: 'x'"),
        ("seed=" + "[" * 5000, "seed=[[[["),
        (f"seed={'9' * 5000}", f"seed={'9' * 5000}: not valid YAML: Exceeds the limit (4300 digits) for integer"),
    ],
)
def test_numbers_beyond_any_use_are_refused(item, expected):
    """They ended in tracebacks of DALI, of timers and of YAML, or started processes until the machine had no more."""
    assert message("", item).startswith(f"--set {expected}")


def test_missing_keys_and_sections_are_named():
    with pytest.raises(UserError, match=r"^x: data\.root: missing; expected text$"):
        parse(BASE.replace("{root: data/x}", "{}"), source="x")
    with pytest.raises(UserError, match=r"^x: train: missing; expected a section with epochs$"):
        parse(BASE.replace("train: {epochs: 3}", ""), source="x")
    with pytest.raises(UserError, match=r"^x: task: missing"):
        parse("seed: 1", source="x")
    with pytest.raises(UserError, match=r"expected keys such as"):
        parse("", source="x")


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(UserError, match=r"x: task: no task 'ctpp'; did you mean ctp\?; there are: .*ctp"):
        parse(BASE.replace("task: fake", "task: ctpp"), source="x")


def test_syntax_errors_and_duplicate_keys_name_file_and_line(tmp_path):
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


def test_each_alias_stands_for_one_existing_key():
    keys = set(nearest.ALIASES) - {"plan.num_frames", "plan.size", "plan.stride"}  # keys of tasks
    all_keys = dotted_keys(get_type_hints(schema.Recognition))
    assert keys <= set(all_keys)
    words = [word for of_key in nearest.ALIASES.values() for word in of_key]
    assert len(words) == len(set(words))
    assert not {key.rpartition(".")[2] for key in all_keys} & set(words) - {"optim", "tensorboard"}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("data.root=a #b", "--set data.root=a #b: YAML takes what follows # for a comment; quote"),
        ("data.root=#b", "--set data.root=#b: YAML takes what follows # for a comment; quote"),
        ("optim.lr.x=1", "--set optim.lr: expected a number, got {'x': 1}"),
        ("optim.lrr = 1", "--set optim.lrr: no such key; did you mean optim.lr?"),
        ("task=[x]", "--set task: expected text, got ['x']"),
        ("task=", "--set task: expected text, got None"),
        ("optim.lrr=1", "--set optim.lrr: no such key; did you mean optim.lr?"),
        ("plan.zzqqxx.lr=1", "--set plan.zzqqxx: no such key; plan has size"),
        ("data.root=''", "--set data.root: expected a folder, got ''"),
        ("work_dir=''", "--set work_dir: expected a folder, got ''"),
        ("optim.lr=fast", "--set optim.lr: expected a number, got 'fast'"),
        ("optim.lr=-1", "--set optim.lr = -1.0 must be greater than 0"),
        ("optim.lr", "--set optim.lr: expected key=value"),
        ("task.x=1", "--set task.x=1: 'task' is not a section"),
        ("optim.lr=[", "--set optim.lr=[, line 1:"),
        ("train.warmup=5", "--set train.warmup: no such key; did you mean schedule.warmup_iters?"),
        ("train.clip_nrm=5", "--set train.clip_nrm: no such key; did you mean optim.clip_norm?"),
        ("net={hiden: 3}", "--set net.hiden: no such key; did you mean net.hidden?"),
    ],
)
def test_a_wrong_override_is_blamed_on_the_command_line(item, expected):
    assert message("", item).startswith(expected)


def test_a_mistake_in_the_file_is_not_blamed_on_an_override():
    assert message("seed: x", "optim.lr=1").startswith("x.yaml: seed")


def test_a_split_that_the_list_ignores_is_refused():
    """It used to be ignored, while the test claimed "is tested on split 2"."""
    data = LabeledData(root="d", list="train{split}.txt", test_list="test.txt", split=2)
    assert data.list_of("train") == "d/train2.txt"
    with pytest.raises(UserError, match=r"data.split = 2 changes nothing in data.test_list = 'test.txt': put {split} "):
        data.list_of("test")
    assert replace(data, split=1).list_of("test") == "d/test.txt"
    assert replace(data, list=None).list_of("train") is None
