"""Find out why DALI failed on a batch: damaged videos, or the device."""

from collections.abc import Sequence

from configs.errors import UserError, shown
from dali_pipelines.decode.dali import first_cause
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.samples import ATTEMPTS, Sample, SampleSource
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import ClipError

DEVICE = ("cuda", "cuvid")
"""Words, in any case, of errors that no video causes."""


def damaged(source: SampleSource, error: RuntimeError, *, device_id: int | None) -> dict[int, str]:
    """Return the damaged rows of the batch at `source.start`, for which DALI raised `error`, each with the reason.

    PyAV decides: a video that it decodes is not damaged, whatever DALI says. UserError if the device is at fault, or a
    sample of the batch has no stand-in left.
    """
    device = "CPU" if device_id is None else f"GPU {device_id}"
    resume = "the same command goes on from the last checkpoint"
    epoch, _ = source.order.at(source.start)
    samples = samples_of(source)  # what the task itself raises comes again, and is not DALI's
    try:
        failed = undecodable(source, samples, device_id=device_id)
    except RuntimeError as again:  # not even a decoder can be created
        raise UserError(f"DALI fails on the {device}: {first_cause(again)}; {resume}") from error
    rows = {row: reason for row, reason in failed.items() if not pyav_decodes(source, epoch, row)}
    if sound := failed.keys() - rows.keys():
        row = min(sound)
        raise UserError(
            f"DALI fails on the {device} though PyAV decodes the same bytes of {shown(source.index.names.text(row))}: "
            f"{failed[row]}; {resume}, with --set data.decoder=pyav on the CPU"
        ) from error
    text = first_cause(error)
    if not failed and any(word in text.lower() for word in DEVICE):
        raise UserError(f"DALI fails on the {device}, and no video is at fault: {text}; {resume}") from error
    return rows


def pyav_decodes(source: SampleSource, epoch: int, row: int) -> bool:
    """Return whether PyAV decodes the frames of a row's sample."""
    try:
        decode_rgb(read_clip(source.index, row, source.plan(epoch, row)["frames"]))
    except (ClipError, OSError):
        return False
    return True


def samples_of(source: SampleSource) -> list[Sample]:
    """Make the samples of the batch at `source.start`; UserError if one has no stand-in left."""
    samples = []
    for slot in range(source.order.batch_size):
        position = source.position(0, slot)
        samples.append(source.sample(position))
        if samples[-1][0] < 0:
            wanted = max(source.order.row(*position[:3]), 0)
            raise UserError(
                f"{source.index.root}: {ATTEMPTS} videos in a row could not be read "
                f"({why_unreadable(source, position.epoch, wanted)}); was the dataset moved "
                "or prepared again during the run? If not, run `clipfeed prepare` on its sources again"
            )
    return samples


def undecodable(source: SampleSource, samples: Sequence[Sample], *, device_id: int | None) -> dict[int, str]:
    """Decode samples one by one with DALI; return the rows that fail, each with the reason."""
    pipeline, _ = build_pipeline(
        source,
        graph=lambda frames, _: {"media": frames},  # only decodes
        batch_size=1,
        device_id=device_id,
        threads=1,
        feed=lambda info: samples[info.iteration % len(samples)],
    )
    reasons = {}
    for sample in samples:
        try:
            pipeline.run()
        except RuntimeError as error:  # only this iteration is lost
            reasons[int(sample[0])] = first_cause(error)
    return reasons


def why_unreadable(source: SampleSource, epoch: int, row: int) -> str:
    """Return why the bytes of a row cannot be read."""
    try:
        source.read(epoch, row)
    except (ClipError, OSError) as error:
        return str(error)
    return "it was read this time; the file or its disk fails now and then"
