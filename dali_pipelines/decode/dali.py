"""Make the frames of a clip in DALI from encoded bytes or from planes of Y, Cb and Cr, and read its errors."""

from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

MINIBATCH = 256
"""Frames that a GPU kernel scales at once; DALI's 32 are too few for batches of a thousand and more."""


def decode(encoded: DataNode, frames: DataNode, *, gpu: bool) -> DataNode:
    """Decode frames of a video file, uint8 (bytes,) on the CPU, to RGB, uint8 (T, H, W, 3).

    `frames`, int32 (T,), count from the video's first; any order, repeats allowed. A missing one fails the whole batch;
    by default, DALI would make it black.
    """
    return fn.decoders.video(encoded, device="mixed" if gpu else "cpu", frames=frames, pad_mode="none")


def planes_to_rgb(luma: DataNode, chroma: DataNode, matrix: DataNode) -> DataNode:
    """Convert 4:2:0 planes to RGB, chroma interpolated and centered between four pixels of luma.

    They are as in `decode.frames.Planes`, the matrix on the CPU. Return uint8 (T, H, W, 3), rounded and clamped.
    """
    shape = luma.shape(dtype=types.FLOAT)
    scaled = fn.resize(
        chroma,
        resize_y=shape[1],
        resize_x=shape[2],
        interp_type=types.INTERP_LINEAR,
        antialias=False,
        minibatch_size=MINIBATCH,
    )
    both = fn.transpose(scaled, perm=[0, 2, 3, 1], output_layout="FHWC")
    return fn.coord_transform(fn.cat(luma, both, axis=3), MT=matrix, dtype=types.UINT8)


def first_cause(error: Exception) -> str:
    """Return the line of a DALI error that says what happened: the first after the operator's traceback."""
    head, _, tail = str(error).partition("encountered:\n")
    lines = [line.strip() for line in (tail or head).splitlines()]
    return next((line for line in lines if line and not line.startswith("Critical error in pipeline")), "")
