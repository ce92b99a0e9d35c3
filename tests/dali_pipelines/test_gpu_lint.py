"""Every task's GPU graph is valid, and mistakes are detected without a GPU."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nvidia.dali import fn, pipeline_def
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline

from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import SampleSource
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, task_module, task_names
from tests.helpers.gpu_lint import problems

pytestmark = pytest.mark.filterwarnings("ignore:The external source node")  # mistakes leave some nodes unused

WAYS: dict[str, dict[str, Any]] = {
    "decoded by DALI": {"media": "encoded"},
    "planes": {"media": "planes"},
    "cut by PyAV": {"media": "frames", "host": True},
    "whole frames": {"media": "frames"},
}


def task_pipeline(task: Task, way: str) -> Pipeline:
    steps = task.program.host_steps(gpu=True) if "host" in WAYS[way] else 0
    index = cast(Index, SimpleNamespace())
    source = SampleSource(index, task, Order(8, 2, 0, 1, 0, True), WAYS[way]["media"], steps=steps)
    return build_pipeline(source, batch_size=2, device_id=0, threads=2, feed=lambda info: ())[0]


def flawed(cfg: Any) -> Any:
    """Return a Config with every flag of its `reference` set, nested ones too."""
    if type(cfg).__name__.endswith("Reference"):
        return replace(cfg, **{field.name: True for field in fields(cfg)})
    inner = {field.name: getattr(cfg, field.name) for field in fields(cfg)}
    return replace(cfg, **{name: flawed(value) for name, value in inner.items() if is_dataclass(value)})


def variants() -> dict[str, Task]:
    """Return each task with its defaults, with all its flaws, and with the other variants of its graph."""
    found: dict[str, Task] = {}
    for name in task_names():
        cfg = task_module(name).Config()
        found |= {name: Task(name, cfg), f"{name}, flawed": Task(name, flawed(cfg))}
    recognition, dpc = task_module("recognition").Config(), task_module("dpc").Config()
    by_area = replace(recognition, area=(0.5, 1.0), jitter=(0.2, 0.2, 0.2, 0.1))
    ten = replace(recognition, test=replace(recognition.test, crops="ten"))
    return found | {
        "recognition, area and jitter": Task("recognition", by_area),
        "dpc, area": Task("dpc", replace(dpc, area=(0.5, 1.0))),
        "evaluation, ten crops": Task("evaluation", ten),
    }


VARIANTS = variants()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_of_every_task_can_be_built_for_a_gpu(variant, way):
    assert problems(lambda: task_pipeline(VARIANTS[variant], way)) == []


def test_every_flag_is_set_in_a_flawed_config():
    flawed_config = VARIANTS["evaluation, flawed"].cfg
    assert flawed_config.reference.fixed_aspect
    assert flawed_config.test.reference.jitter
    assert VARIANTS["ctp, flawed"].cfg.reference.truncate_paste


# Mistakes.


def problems_of(build: Callable[[DataNode, DataNode], DataNode]) -> list[str]:
    """List the problems of a graph of clips on a GPU and an array on the CPU."""

    @pipeline_def(batch_size=2, num_threads=1, device_id=0)
    def pipeline():
        clips, array = fn.external_source(lambda: (), num_outputs=2, layout=["FHWC", ""])
        return build(clips.gpu(), array)

    return problems(pipeline)


def test_an_operator_without_gpu_version_is_detected():
    found = problems_of(lambda clips, array: fn.transforms.translation(array.gpu(), offset=(1.0, 1.0)))
    assert found == ["transforms__Translation is not registered for gpu"]


def test_a_named_argument_on_a_gpu_is_detected():
    with pytest.raises(ValueError, match="Named arguments must be on CPU"):
        problems_of(lambda clips, array: fn.warp_affine(clips, matrix=array.gpu()))


def test_a_misspelled_argument_is_detected():
    with pytest.raises(KeyError, match="antialiased"):
        # mypy finds it too.
        problems_of(lambda clips, array: fn.resize(clips, size=[8, 8], antialiased=True))  # type: ignore[call-overload]


def test_mixed_cpu_and_gpu_inputs_are_detected():
    with pytest.raises(RuntimeError, match="incompatible device"):
        problems_of(lambda clips, array: fn.cat(clips, array))


def test_65_inputs_of_an_operator_that_takes_64_are_detected():
    with pytest.raises(ValueError, match="from 1 to 64 inputs, but received 65"):
        problems_of(lambda clips, array: fn.multi_paste(*[clips] * 65, output_size=[8, 8]))


def test_multi_paste_of_different_widths_is_detected():
    (found,) = problems_of(lambda clips, array: fn.multi_paste(clips[0], clips[0, :, :5], output_size=[8, 8]))
    assert "row pitch of the first" in found


def test_a_sound_graph_passes():
    assert problems_of(lambda clips, array: fn.resize(fn.warp_affine(clips, matrix=array), size=[8, 8])) == []
