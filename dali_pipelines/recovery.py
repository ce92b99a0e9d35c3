"""Finding the videos that fail a batch. DALI says only that the batch failed."""

from nvidia.dali.data_node import DataNode

from configs.errors import UserError
from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.samples import ATTEMPTS, SampleSource
from dali_pipelines.store.reader import ClipError


def undecodable(source: SampleSource, *, device_id: int | None) -> dict[int, str]:
    """The rows of the batch at `source.start` that do not decode on their own, each with the reason.

    UserError when a place of the batch has not even a stand-in.
    """
    epoch, step = source.order.at(source.start)
    samples = [source.sample(epoch, step, slot) for slot in range(source.order.batch_size)]
    rows = [int(sample[0]) for sample in samples]
    if min(rows) < 0:
        raise UserError(
            f"{source.index.root}: {ATTEMPTS} videos in a row could not be read; is the folder complete? "
            "Run `python -m dali_pipelines.prepare` on its sources again"
        )

    def decoded_only(frames: DataNode, plan: dict[str, DataNode]) -> dict[str, DataNode]:
        return {"media": frames}

    pipeline, _ = build_pipeline(
        source,
        decoded_only,
        batch_size=1,
        device_id=device_id,
        threads=1,
        workers=0,
        feed=lambda info: samples[info.iteration % len(samples)],
    )
    reasons = {}
    for row in rows:
        try:
            pipeline.run()
        except RuntimeError as error:  # that iteration is lost; the next one runs
            reasons[row] = first_cause(error)
    return reasons


def first_cause(error: Exception) -> str:
    """The line of a DALI error that says what happened: the first one behind the operator's traceback."""
    head, _, tail = str(error).partition("encountered:\n")
    lines = [line.strip() for line in (tail or head).splitlines()]
    return next((line for line in lines if line and not line.startswith("Critical error in pipeline")), "")


def why_unreadable(source: SampleSource, epoch: int, row: int) -> str:
    """Why the bytes of a row cannot be had."""
    try:
        source.read(epoch, row)
    except (ClipError, OSError) as error:
        return str(error)
    return "read this time; the file or its disk fails now and then"
