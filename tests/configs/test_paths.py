"""Paths in recipes are expanded as a shell does."""

import os

import pytest

from configs.errors import UserError
from configs.load import dump, load, parse
from dali_pipelines import preview
from trainers.commands import pretrain


@pytest.mark.parametrize("text", ["~/runs/a", "$SCRATCH/runs/${NUMBER}", "runs/a b/é", "s3://bucket/$NUMBER/~"])
def test_paths_expand_as_in_a_shell(text, monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("NUMBER", "3")
    shells = os.popen(f"printf %s {text if '$' in text or '~' in text else repr(text)}").read()
    expected = text if "://" in text else shells
    config = load("recognition/demo", [f"{key}={text!r}" for key in ("work_dir", "data.root", "data.list")])
    assert config.work_dir == config.data.root == config.data.list == expected


def test_an_unset_variable_is_refused_by_key(monkeypatch):
    monkeypatch.delenv("SCRATCH", raising=False)
    with pytest.raises(UserError, match=r"^--set data.root: '\$SCRATCH/d': \$SCRATCH is not set; set it, or"):
        load("ctp/demo", ["data.root=$SCRATCH/d"])


def test_an_unknown_user_is_refused_by_key():
    with pytest.raises(
        UserError, match=r"^--set data.root: '~nobody_here/d': there is no user nobody_here; a folder of"
    ):
        load("ctp/demo", ["data.root=~nobody_here/d"])


def test_a_path_with_a_nul_is_refused_by_key():
    with pytest.raises(UserError, match=r"^--set work_dir: 'a\\x00b': a path cannot hold the character NUL"):
        load("ctp/demo", ['work_dir="a\\0b"'])


def test_existing_folders_are_not_expanded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("~", "$RECYCLE.BIN"):
        (tmp_path / name).mkdir()
        assert load("ctp/demo", [f"data.root={name!r}"]).data.root == name


def test_recipes_from_strangers_do_not_read_the_environment(monkeypatch):
    text = dump(load("ctp/demo")).replace("demo/data", "$HOME/~")
    assert parse(text, source="x", own=False).data.root == "$HOME/~"


@pytest.mark.parametrize(("option", "key"), [("--data-dir", "data.root"), ("--work-dir", "work_dir")])
def test_an_empty_folder_option_is_refused(option, key):
    """With `--work-dir "$RUN"` and RUN unset, the run used to go to the recipe's own folder."""
    with pytest.raises(UserError, match=f"^--set {key}: expected a folder, got ''"):
        pretrain.main(["--config", "ctp/demo", option, ""])


def test_an_empty_dataset_is_refused_by_preview_too(tmp_path):
    with pytest.raises(UserError, match=r"^--set data.root: expected a folder, got ''"):
        preview.main(["--config", "ctp/demo", "--data-dir", "", "--out", str(tmp_path / "a.png")])
