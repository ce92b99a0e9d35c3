"""Validate a classifier between epochs, to keep the best checkpoint and to lower the learning rate at plateaus."""

import shutil
from dataclasses import replace
from pathlib import Path

from configs.errors import UserError
from configs.schema import Recognition
from dali_pipelines.store.files import replacing
from dali_pipelines.store.index import Index
from dali_pipelines.tasks.recognition import Test
from nets.classifier import Classifier
from trainers.engine import checkpoint
from trainers.engine.distributed import Ranks
from trainers.engine.run import Run, content
from trainers.engine.work_dir import BEST, set_aside
from trainers.evaluation.predict import cross_entropy, predict, top_k

MIN_GAIN = 1e-4  # smallest relative decrease that counts as lower, as in torch's ReduceLROnPlateau


class Validator:
    """Test the network on one clip from the middle of each video of `index`, and keep the best network.

    The best has the highest top-1, and among ties the lowest loss. It is written to `folder`/best.pt.
    """

    def __init__(self, index: Index, config: Recognition, ranks: Ranks, folder: Path) -> None:
        self.index, self.config, self.ranks, self.folder = index, config, ranks, folder
        self.plan = replace(config.plan, test=Test(clips=1, short_side=config.plan.test.short_side))
        self.lr_factor = 1.0  # on the learning rate, from the plateaus so far
        self.pending = False  # whether the validation of the last step is still to run
        self.lowest, self.waiting = float("inf"), 0
        self.best: tuple[float, float] = (-1.0, 0.0)

    def due(self, run: Run, step: int) -> bool:
        """Return whether to validate after `step` steps."""
        epoch = run.epoch(step)
        ended = epoch > run.epoch(step - 1) and epoch % self.config.validation.every == 0
        return ended or step == run.total_steps

    def __call__(self, run: Run, step: int) -> dict[str, float]:
        """Measure loss and top-1. All ranks call this at the same step; run.net is left in eval mode."""
        net = run.net.eval()
        self.pending = False
        assert isinstance(net, Classifier)
        self.ranks.copy_buffers(net)
        found = predict(net, self.index, self.plan, self.ranks, self.config.data, desc="validation")
        run.unreadable.update(found.unreadable)
        top1, loss = top_k(found.scores, found.labels, 1), cross_entropy(found.scores, found.labels)
        if (top1, -loss) > self.best:
            self._write(run, step, (top1, -loss))
        self._wait_for_plateau(loss)
        return {"loss": loss, "top1": top1, "best_top1": self.best[0], "lr_factor": self.lr_factor}

    def state_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in ("lr_factor", "lowest", "waiting", "best", "pending")}

    def load_state_dict(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def bring_best(self, folder: Path, step: int) -> str:
        """Find the best checkpoint after a resume from `folder`, and copy it if it is there.

        If it is nowhere, the search starts over. All ranks call this at the same point. Returns a note, or "".
        """

        def bring() -> str:
            ours, theirs = self.folder / BEST, folder / BEST
            if self.best[0] < 0 or self._is_best(ours, step):
                return ""
            if ours.is_file():
                set_aside(self.folder.parent, [f"{self.folder.name}/{BEST}"])
            if not self._is_best(theirs, step):
                return f"the best checkpoint up to step {step} is not in {folder}: the search for it begins anew"
            with replacing(ours) as part:
                shutil.copyfile(theirs, part)
            return f"{ours} was copied from {folder}"

        note = self.ranks.on_rank0(bring)
        if note.endswith("anew"):
            self.best = (-1.0, 0.0)
        return note

    def _is_best(self, path: Path, step: int) -> bool:
        """Return whether a file is the best checkpoint up to `step`, or that of the pending validation of `step`."""
        try:
            found = checkpoint.read(path)
        except UserError:
            return False
        measured = (found["validation"]["top1"], -found["validation"]["loss"])
        return repr(measured) == repr(tuple(self.best)) or (self.pending and found["step"] == step)

    def _write(self, run: Run, step: int, best: tuple[float, float]) -> None:
        """Write best.pt. If that fails and the run continues, the former file remains the best."""
        facts = {"step": step, "validation": {"top1": best[0], "loss": -best[1], "videos": len(self.index)}}
        try:
            self.ranks.on_rank0(lambda: checkpoint.write(self.folder / BEST, content(run) | facts))
            self.best = best
        except OSError as error:
            failed = f"cannot write {self.folder / BEST}: {error.strerror or error}"
            if self.config.train.full_disk == "stop":
                raise UserError(f"{failed}; make room and start the same command again") from error
            self.ranks.tell(f"warning: {failed}; the one before it stays, and training goes on")

    def _wait_for_plateau(self, loss: float) -> None:
        if self.config.schedule.kind != "plateau":
            return
        lower = loss < self.lowest * (1 - MIN_GAIN)
        self.lowest, self.waiting = (loss, 0) if lower else (self.lowest, self.waiting + 1)
        if self.waiting > self.config.schedule.patience:
            self.lr_factor, self.waiting = self.lr_factor * self.config.schedule.gamma, 0
