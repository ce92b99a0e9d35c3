"""The public API of clipfeed: clips for training, backbones, weights and features.

`ClipLoader`, `open_dataset` and `load_task` feed clips; `create_backbone`, `load_weights` and `extract_features` use
trained networks. README.md has examples. `clipfeed` and `python -m clipfeed` run the commands.
"""

from importlib.util import find_spec
from pathlib import Path

for _name in ("configs", "dali_pipelines", "nets", "trainers"):
    _found = find_spec(_name)
    _origin = _found.origin if _found else None
    if Path(_origin or "").resolve() != Path(__file__).resolve().parent / _name / "__init__.py":
        raise (SystemExit if __name__ == "__main__" else ImportError)(
            f"error: clipfeed has a package {_name!r}, but Python finds {_origin} before it: start from another "
            "folder, take it out of PYTHONPATH, or rename it"
        )

if __name__ == "clipfeed":  # neither as the command nor in its worker processes, which rerun this file
    from configs.errors import how_to_install
    from configs.load import load

    try:
        from dali_pipelines.datasets.open import open_dataset
        from dali_pipelines.loader import ClipLoader
        from dali_pipelines.tasks import Task
        from nets.backbones import create as create_backbone
        from trainers.evaluation.video_features import extract_features
        from trainers.weights import read as load_weights
    except ModuleNotFoundError as error:
        error.add_note(how_to_install(error))
        raise
elif __name__ == "__main__":
    from configs.command import main

    main()

__all__ = ["ClipLoader", "create_backbone", "extract_features", "load_task", "load_weights", "open_dataset"]


def load_task(recipe: str | Path, *overrides: str) -> "Task":
    """Load the task of a recipe, with its settings.

    Args:
        recipe: a YAML file, or the name of one in configs/, such as "ctp/r3d18_ucf101".
        overrides: changes such as "plan.size=96".

    Raises:
        UserError: the recipe does not exist, or one of its keys or values is wrong.
    """
    config = load(recipe, overrides)
    return Task(config.task, config.plan)
