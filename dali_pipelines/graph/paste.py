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
        float32 (T, size, size, 3) in 0..255: I + (P - I) alpha, patch after patch (specs/ctp.md 1.1 h). Sampling is
        bilinear and never reads beyond the source box, like a resize of the cut-out patch.
    """
    composite = fn.cast(clips, dtype=types.FLOAT)
    every_frame = types.Constant(np.zeros(length, np.int32), device="cpu")
    masks, rows, columns = (beside(plan[f"patch_{name}"], clips) for name in ("mask", "rows", "columns"))
    for patch in range(patches):
        shape = plan["patch_shape"][patch]
        picture = fn.slice(clips, start=plan["patch_start"][patch], shape=shape, axes=(0, 1, 2))
        mask = fn.slice(masks[patch : patch + 1], start=[0, 0, 0], shape=shape, axes=(0, 1, 2))
        cut = fn.cat(picture, fn.reshape(mask, layout="FHWC"), axis=3)
        canvas = fn.warp_affine(
            fn.sequence_rearrange(cut, new_order=every_frame),
            matrix=fn.per_frame(plan["patch_matrix"][patch]),
            size=plan["patch_canvas"][patch],
            inverse_map=True,
            dtype=types.FLOAT,
        )
        offset = plan["patch_offset"][patch]
        whole = fn.slice(canvas, start=offset, shape=[size, size], axes=(1, 2), out_of_bounds_policy="pad")
        pixels, alpha = whole[:, :, :, :3], whole[:, :, :, 3:]
        composite = composite + (pixels - composite) * (alpha * rows[patch] * columns[patch])
        if truncate:
            composite = math.floor(composite)
    return composite
