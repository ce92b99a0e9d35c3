"""Moving patches pasted into a clip, with a box, an opacity and a mask for every frame."""

from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.device import beside


def paste_patches(
    clips: DataNode, plan: dict[str, DataNode], *, patches: int, size: int, truncate: bool = False
) -> DataNode:
    """Cut each patch out of its source frame, scale it to its box of every frame and blend it in.

    `multi_paste`, which copies boxes, is not used. On a GPU, DALI 2.4 reads all its inputs with the row pitch of the
    first (`MultiPasteGPU::SetupTyped`), and threads of `PasteKernel` beyond the end of a row run off their table.

    Args:
        clips: uint8 (T, size, size, 3). Every patch is cut from it before anything is pasted.
        plan: the arrays of `plan.patches.paste_arrays`, on the CPU. Without them the clips have their patches already
            (`store.paste`).
        patches: R.
        truncate: drop the fraction of a gray level at every paste, as the original's uint8 pictures do.

    Returns:
        uint8 (T, size, size, 3): I (1 - alpha) + P alpha, patch after patch (specs/ctp.md 1.1 h), rounded each time.
        Sampling is bilinear and never reads beyond the source box, like a resize of the cut-out patch.
    """
    if "patch_start" not in plan:
        return clips
    composite = clips
    for patch in range(patches):
        place, canvas = fn.per_frame(plan["patch_place"][patch]), plan["patch_canvas"][patch]
        extent = fn.cast(canvas, dtype=types.FLOAT)
        below = fn.warp_affine(composite, matrix=place, size=extent, interp_type=types.INTERP_NN)
        pixels, alpha = _patch(clips, plan, patch, extent)
        blend = below + (pixels - below) * (alpha * _inside(plan, patch, canvas))
        if truncate:
            blend = math.floor(blend + 1e-3)  # products of floats: 100 may come as 99.99999
        # Both are uint8, which wraps: what is added to the clip modulo 256 is exact, and 0 around the box.
        change = fn.cast(blend, dtype=types.UINT8) - below
        composite += fn.warp_affine(
            change,
            matrix=place,
            inverse_map=False,
            size=[size, size],
            interp_type=types.INTERP_NN,
            fill_value=0,
        )
    return composite


def _patch(clips: DataNode, plan: dict[str, DataNode], patch: int, extent: DataNode) -> tuple[DataNode, DataNode]:
    """Return the patch on its canvases, float32 (T, height, width, 3), and its mask there, (T, height, width, 1).

    Around the box the pixels of its border repeat.
    """
    start, shape = (plan[f"patch_{name}"][patch] for name in ("start", "shape"))
    mask = fn.slice(plan["patch_mask"], start=[patch, 0, 0], shape=shape, axes=(0, 1, 2), dtype=types.FLOAT)
    picture = fn.slice(clips, start=start, shape=shape, axes=(0, 1, 2), dtype=types.FLOAT)
    cut = fn.cat(picture, beside(fn.reshape(mask, layout="FHWC"), clips), axis=3)
    warped = fn.warp_affine(
        fn.reshape(cut, rel_shape=[1, 1, 1], src_dims=[1, 2, 3], layout="HWC"),
        fn.per_frame(beside(plan["patch_zoom"][patch], clips)),
        size=extent,
    )
    return warped[:, :, :, :3], warped[:, :, :, 3:]


def _inside(plan: dict[str, DataNode], patch: int, canvas: DataNode) -> DataNode:
    """Return opacity / 255 in the box and 0 around it, float32 (T, height, width, 1), on the CPU."""
    return plan["patch_rows"][patch, :, : canvas[0]] * plan["patch_columns"][patch, :, :, : canvas[1]]
