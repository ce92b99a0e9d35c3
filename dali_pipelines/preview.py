"""What the network will see, as a picture: `python -m dali_pipelines.preview --config C --out FILE.png`."""

import argparse
from pathlib import Path

from configs.errors import UserError, run_cli
from configs.load import load

COLOURS = ("red", "lime", "cyan", "yellow", "magenta")
ZOOM = 2


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m dali_pipelines.preview", description=__doc__)
    parser.add_argument("--config", required=True, metavar="YAML", help="the recipe, see configs/")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key")
    parser.add_argument("--data-dir", metavar="DIR", help="the dataset, instead of data.root")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument("--samples", type=int, default=6, help="clips, one a row (6)")
    parser.add_argument("--frames", type=int, default=8, help="frames of a clip, evenly spread (8)")
    args = parser.parse_args(argv)
    if args.out.suffix != ".png":
        raise UserError(f"--out {args.out}: only .png pictures are made; give the name that ending")
    config = load(args.config, args.set)

    import torch
    from torchvision.io import write_png
    from torchvision.utils import draw_bounding_boxes, make_grid

    from dali_pipelines.graph.colour import MEAN, STD
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import open_dataset
    from dali_pipelines.tasks import Task

    root = args.data_dir or config.data.root
    index = open_dataset(root, Path(root, config.data.list) if config.data.list else None)
    samples = min(args.samples, len(index))
    batch = next(iter(ClipLoader(index, Task(config.task, config.plan), batch_size=samples, seed=config.seed)))
    clips_BTCHW = batch["clips"].movedim(2, 1) * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    pixels_BTCHW = (clips_BTCHW.clamp(0, 1) * 255).round().byte()
    shown = torch.linspace(0, pixels_BTCHW.shape[1] - 1, args.frames).round().long().tolist()
    tiles = []
    for sample in range(samples):
        for t in shown:
            tile = pixels_BTCHW[sample, t].repeat_interleave(ZOOM, 1).repeat_interleave(ZOOM, 2)
            if "boxes" in batch:
                boxes = batch["boxes"][sample, :, t] * ZOOM
                boxes[:, 2:] -= 1  # ends are exclusive, drawn corners are not
                tile = draw_bounding_boxes(tile, boxes, colors=[COLOURS[k % len(COLOURS)] for k in range(len(boxes))])
            tiles.append(tile)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(make_grid(torch.stack(tiles), nrow=len(shown), padding=4, pad_value=255), str(args.out))
    names = ", ".join(index.info(row).name for row in batch["index"].tolist())
    print(f"{args.out}: {samples} clips by row ({names}), frames {', '.join(map(str, shown))} of each")


if __name__ == "__main__":
    run_cli(main)
