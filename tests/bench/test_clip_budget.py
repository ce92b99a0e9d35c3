"""The budget of a clip: its steps, and that they add up to the total."""

import json

import pytest

from bench import clip_budget

pytestmark = pytest.mark.slow


def test_every_loader_step_has_its_share(h264_store, tmp_path, monkeypatch, capsys):
    file = tmp_path / "budget.json"
    monkeypatch.setattr(clip_budget, "CLIPS", 4)
    monkeypatch.setattr(clip_budget, "ROUNDS", 2)
    options = ["--data-dir", str(h264_store.root), "--tasks", "moco", "ctp"]
    clip_budget.main([*options, "--json", str(file)])
    budgets = json.loads(file.read_text())["cpu_ms_per_clip"]
    around = ["plan", "locate", "read", "decode"], ["hand over", "graph", "all"]
    operations = {
        "moco": ["CropResize", "Recolor"],
        "ctp": ["CropResize", "Recolor", "PastePatches", "BrightnessContrast"],
    }
    for task, spent in budgets.items():
        assert list(spent) == [*around[0], *operations[task], *around[1]]
        assert spent["all"] == pytest.approx(sum(ms for step, ms in spent.items() if step != "all"), abs=0.01)
        assert min(spent[step] for step in ("plan", "read", "decode", "graph")) > 0
    shown = capsys.readouterr().out
    assert "| PastePatches |  | " in shown  # moco pastes nothing
    assert f"| {budgets['ctp']['decode']} |" in shown
