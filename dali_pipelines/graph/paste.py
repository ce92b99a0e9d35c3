"""Moving patches pasted into a clip, with a box, an opacity and a mask for every frame."""

from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.device import beside

MOST_FRAMES = 63
"""The frames of a clip at most: `multi_paste` takes 64 pictures, of which the clip is one."""


def paste_patches(
    clips: DataNode, plan: dict[str, DataNode], *, patches: int, length: int, size: int, truncate: bool = False
) -> DataNode:
    """Cuts each patch out of its source frame, warps it to its box of every frame and blends it in.

    Args:
        clips: uint8 (T, size, size, 3). Every patch is cut from it before anything is pasted.
        plan: the arrays of `plan.patches.paste_arrays`, on the CPU. Without them the clips have their patches already
            (`store.paste`).
        patches, length: R and T, at most MOST_FRAMES.
        truncate: drop the fraction of a grey level at every paste, as the original's uint8 pictures do.

    Returns:
        uint8 (T, size, size, 3): I (1 - alpha) + P alpha, patch after patch (specs/ctp.md 1.1 h), rounded each time.
        Sampling is bilinear and never reads beyond the source box, like a resize of the cut-out patch.
    """
    if "patch_start" not in plan:
        return clips
    # One tall picture: on the CPU backend of DALI 2.4 `multi_paste` fails on sequences.
    composite = fn.reshape(clips, shape=[length * size, size, 3], layout="HWC")
    for patch in range(patches):
        pixels, alpha = _canvas(clips, plan, patch)
        on_clip, on_canvas, extent = (plan[f"patch_{name}"] for name in ("on_clip", "on_canvas", "extent"))
        below = fn.multi_paste(
            *[composite] * length,
            in_anchors=on_clip[patch, 1:],
            out_anchors=on_canvas[patch, 1:],
            shapes=extent[patch, 1:],
            output_size=plan["patch_canvas"][patch],
        )
        blend = below + (pixels - below) * alpha
        if truncate:
            blend = math.floor(blend + 1e-3)  # products of floats: 100 may come as 99.99999
        composite = fn.multi_paste(
            composite,
            *[fn.cast(blend, dtype=types.UINT8)] * length,
            in_anchors=on_canvas[patch],
            out_anchors=on_clip[patch],
            shapes=extent[patch],
            output_size=[length * size, size],
        )
    return fn.reshape(composite, shape=[length, size, size, 3], layout="FHWC")


def _canvas(clips: DataNode, plan: dict[str, DataNode], patch: int) -> tuple[DataNode, DataNode]:
    """The patch at the size that it has in every frame that shows it: float32 (V height, width, 3) and its alpha."""
    start, shape, shown = (plan[f"patch_{name}"][patch] for name in ("start", "shape", "shown"))
    mask = fn.slice(plan["patch_mask"], start=[patch, 0, 0], shape=shape, axes=(0, 1, 2), dtype=types.FLOAT)
    picture = fn.slice(clips, start=start, shape=shape, axes=(0, 1, 2), dtype=types.FLOAT)
    cut = fn.cat(picture, beside(fn.reshape(mask, layout="FHWC"), clips), axis=3)
    warped = fn.warp_affine(
        fn.reshape(cut, rel_shape=[1, 1, 1], src_dims=[1, 2, 3], layout="HWC"),
        fn.per_frame(beside(plan["patch_matrix"][patch, :shown], clips)),
        size=plan["patch_size"][patch],
    )
    alpha = warped[:, :, :, 3:] * beside(plan["patch_opacity"][patch, :shown], clips)
    return _tall(warped[:, :, :, :3]), _tall(alpha)


def _tall(pictures: DataNode) -> DataNode:
    return fn.reshape(pictures, rel_shape=[-1, 1, 1], src_dims=[0, 2, 3], layout="HWC")
