"""Paste moving, masked patches into a clip, each with a box and an opacity per frame (specs/ctp.md 1.1 h)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dali_pipelines import kernels
from dali_pipelines.pixels.operation import ClipOperation, Nodes, Plan, Schema, View, to_device_of
from dali_pipelines.plan.patches import Patches


@dataclass(frozen=True)
class PastePatches(ClipOperation):
    """Cut each patch out of its source frame, scale it to its box in every frame and blend it in.

    I (1 - alpha) + P alpha, patch after patch, rounded each time. All patches are cut before any is pasted. Sampling
    is bilinear and never reads beyond the source box, like a resize of the cut-out patch. Samples must have one view.

    Attributes:
        patches: R.
        size: side of the clip, pixels.
        truncate: drop the fraction of a gray level at every paste, as the original's uint8 pictures do; DALI only.
    """

    patches: int
    size: int
    truncate: bool = False

    host_only = frozenset({"patch_box", "patch_opacity"})

    @property
    def on_host(self) -> bool:
        return not self.truncate

    def schema(self, *, views: int, frames: int) -> Schema:
        patches, size = self.patches, self.size
        return {
            "patch_start": ((patches, 3), "int32"),  # frame, y and x of the source box
            "patch_shape": ((patches, 3), "int32"),  # 1, and its height and width
            "patch_mask": ((patches, size, size, 1), "uint8"),  # in the top left corner
            "patch_box": ((patches, frames, 4), "int32"),  # y, x, height and width of the box in the clip
            "patch_opacity": ((patches, frames), "float32"),  # opacity / 255
            "patch_canvas": ((patches, 2), "int32"),  # its height and width
            "patch_zoom": ((patches, frames, 2, 3), "float32"),  # maps a canvas to the cut-out source box
            "patch_place": ((patches, frames, 2, 3), "float32"),  # maps a canvas to the clip
            # Inside the box, opacity / 255 and 1; outside, one of them is 0.
            "patch_rows": ((patches, frames, size, 1, 1), "float32"),
            "patch_columns": ((patches, frames, 1, size, 1), "float32"),
        }

    @staticmethod
    def arrays(patches: Patches) -> dict[str, np.ndarray]:
        """Return the plan's arrays for R patches, in the order of pasting.

        A patch has a canvas in every frame: a picture as high and wide as its highest and widest box, with the box at
        the top left. Patches cover few pixels of a clip, so blending on canvases is cheaper than on whole frames.
        """
        order = patches.paste_order
        boxes, opacity = patches.boxes[order], patches.opacity[order]
        corner, extent = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]  # (R, T, xy)
        source_frame, every = patches.source_frame[order], np.arange(len(order))
        start, shape = corner[every, source_frame], extent[every, source_frame]
        shown, weight = opacity > 0, (opacity / 255).astype(np.float32)

        zoom = np.zeros((*shown.shape, 2, 3), np.float32)
        zoom[..., [0, 1], [0, 1]] = shape[:, None] / extent
        place = np.broadcast_to(np.eye(2, 3, dtype=np.float32), zoom.shape).copy()
        place[..., 2] = corner
        masks = np.zeros((len(order), patches.size, patches.size, 1), np.uint8)
        for mask, patch in zip(masks, order, strict=True):
            height, width = patches.masks[patch].shape
            mask[:height, :width, 0] = np.rint(255 * patches.masks[patch])
        columns, rows = (np.arange(patches.size) < extent[..., axis, None] for axis in (0, 1))
        return {
            "patch_start": np.column_stack([source_frame, start[:, ::-1]]).astype(np.int32),
            "patch_shape": np.column_stack([np.ones_like(source_frame), shape[:, ::-1]]).astype(np.int32),
            "patch_mask": masks,
            "patch_box": np.concatenate([corner[..., ::-1], extent[..., ::-1]], axis=-1).astype(np.int32),
            "patch_opacity": weight,
            "patch_canvas": np.where(shown[..., None], extent, 0).max(axis=1)[:, ::-1].astype(np.int32),
            "patch_zoom": zoom,
            "patch_place": place,
            "patch_rows": (weight[..., None] * rows)[..., None, None],
            "patch_columns": columns.astype(np.float32)[..., None, :, None],
        }

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        regions = zip(plan["patch_start"].tolist(), plan["patch_shape"].tolist(), plan["patch_mask"], strict=True)
        cuts = [  # all patches are cut before any is pasted
            np.dstack([clip[frame, y : y + height, x : x + width], mask[:height, :width]]).astype(np.float32)
            for (frame, y, x), (_, height, width), mask in regions
        ]
        for cut, boxes, opacity in zip(cuts, plan["patch_box"], plan["patch_opacity"], strict=True):
            kernels.paste(clip, cut, boxes, opacity)

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        """Paste without `multi_paste`.

        On a GPU, it reads all inputs with the row pitch of the first (`MultiPasteGPU::SetupTyped`, DALI 2.4), and
        threads of `PasteKernel` beyond the end of a row run past their table.
        """
        composite = clip
        for patch in range(self.patches):
            place, canvas = fn.per_frame(plan["patch_place"][patch]), plan["patch_canvas"][patch]
            extent = fn.cast(canvas, dtype=types.FLOAT)
            below = fn.warp_affine(composite, matrix=place, size=extent, interp_type=types.INTERP_NN)
            pixels, alpha = _patch(clip, plan, patch, extent)
            blend = below + (pixels - below) * (alpha * _inside(plan, patch, canvas))
            if self.truncate:
                blend = math.floor(blend + 1e-3)  # float rounding: 100 may come as 99.99999
            # Both are uint8, which wraps: adding the change modulo 256 is exact, and it is 0 around the box.
            change = fn.cast(blend, dtype=types.UINT8) - below
            composite += fn.warp_affine(
                change,
                matrix=place,
                inverse_map=False,
                size=[self.size, self.size],
                interp_type=types.INTERP_NN,
                fill_value=0,
            )
        return composite


def _patch(clip: DataNode, plan: Nodes, patch: int, extent: DataNode) -> tuple[DataNode, DataNode]:
    """Scale a patch and its mask to the canvases: float32 (T, height, width, 3) and (T, height, width, 1).

    Around the box, its border pixels repeat.
    """
    start, shape = (plan[f"patch_{name}"][patch] for name in ("start", "shape"))
    mask = fn.slice(plan["patch_mask"], start=[patch, 0, 0], shape=shape, axes=(0, 1, 2), dtype=types.FLOAT)
    picture = fn.slice(clip, start=start, shape=shape, axes=(0, 1, 2), dtype=types.FLOAT)
    cut = fn.cat(picture, to_device_of(fn.reshape(mask, layout="FHWC"), clip), axis=3)
    warped = fn.warp_affine(
        fn.reshape(cut, rel_shape=[1, 1, 1], src_dims=[1, 2, 3], layout="HWC"),
        fn.per_frame(to_device_of(plan["patch_zoom"][patch], clip)),
        size=extent,
    )
    return warped[:, :, :, :3], warped[:, :, :, 3:]


def _inside(plan: Nodes, patch: int, canvas: DataNode) -> DataNode:
    """Return opacity / 255 in the box and 0 around it, float32 (T, height, width, 1), on the CPU."""
    return plan["patch_rows"][patch, :, : canvas[0]] * plan["patch_columns"][patch, :, :, : canvas[1]]
