"""Moving patches pasted into a clip, with a box, an opacity and a mask for every frame."""

import numpy as np
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.device import beside


def paste_patches(
    clips: DataNode, plan: dict[str, DataNode], *, patches: int, length: int, size: int, truncate: bool = False
) -> DataNode:
    """Cuts each patch out of its source frame, warps it to its box of every frame and blends it in.

    Args:
        clips: uint8 (T, size, size, 3). Every patch is cut from it before anything is pasted.
        plan: the arrays of `plan.patches.paste_arrays`, on the CPU.
        patches, length: R and T.
        truncate: drop the fraction of a grey level at every paste, as the original's uint8 pictures do.

    Returns:
        float32 (T, size, size, 3) in 0..255: I (1 - alpha) + P alpha, patch after patch (specs/ctp.md 1.1 h).
        Sampling is bilinear and never reads beyond the source box, like a resize of the cut-out patch.
    """
    every_frame = types.Constant(np.zeros(length, np.int32), device="cpu")
    masks, rows, columns = (beside(plan[f"patch_{name}"], clips) for name in ("mask", "rows", "columns"))
    composite = clips
    for patch in range(patches):
        shape = plan["patch_shape"][patch]
        picture = fn.slice(clips, start=plan["patch_start"][patch], shape=shape, axes=(0, 1, 2))
        mask = fn.slice(masks[patch : patch + 1], start=[0, 0, 0], shape=shape, axes=(0, 1, 2))
        cut = fn.cat(picture, fn.reshape(mask, layout="FHWC"), axis=3)
        height, width = plan["patch_canvas"][patch, 0:1], plan["patch_canvas"][patch, 1:2]
        canvas = fn.warp_affine(
            fn.sequence_rearrange(cut, new_order=every_frame),
            matrix=fn.per_frame(plan["patch_matrix"][patch]),
            size=fn.cast(plan["patch_canvas"][patch], dtype=types.FLOAT),
            inverse_map=True,
            dtype=types.FLOAT,
        )
        # All that can be done on the canvas is done there: it covers a quarter of the picture on average.
        inside = fn.slice(rows[patch], start=[0], shape=height, axes=(1,)) * fn.slice(
            columns[patch], start=[0], shape=width, axes=(2,)
        )
        alpha = canvas[:, :, :, 3:] * inside
        pixels, alpha = (
            fn.slice(
                fn.reshape(part, layout="FHWC"),
                start=plan["patch_offset"][patch],
                shape=[size, size],
                axes=(1, 2),
                out_of_bounds_policy="pad",
            )
            for part in (canvas[:, :, :, :3] * alpha, alpha)
        )
        composite = composite * (np.float32(1) - alpha) + pixels
        if truncate:
            composite = math.floor(composite + np.float32(1e-3))  # products of floats: 100 may come as 99.99999
    return composite
