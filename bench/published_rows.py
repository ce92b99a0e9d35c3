"""Published rows: what was reported, where it was read, and the recipe of ours that would repeat it.

Figures are top-1 after finetuning all weights, in percent, of UCF101 and HMDB51, split 1 where a source names one.
"""

from dataclasses import dataclass

NOT_CHECKED, MEMORY = "not checked", "from memory"
DPC, CPC_README = "DPC's readme", "readme of CPC with a Transformer"
BASELINE = "clip, schedule and finetuning are CtP's for its baselines, not the paper's"
CTP = ("recognition/ctp_r3d18_ucf101", "recognition/ctp_r3d18_hmdb51")
CTP_R2PLUS1D = ("recognition/ctp_r2plus1d18_ucf101", "recognition/ctp_r2plus1d18_hmdb51")
CPC = ("recognition/cpc_transformer_ucf101", "recognition/cpc_transformer_hmdb51")


@dataclass(frozen=True)
class Row:
    """A published figure, and what repeats it here."""

    task: str
    backbone: str
    data: str
    """Of pretraining, with what the paper says of its clips."""
    ucf101: float | None
    hmdb51: float | None
    source: str
    """Where it was read; docs/published.md says what the words mean."""
    recipe: str | None = None
    """The recipe that pretrains it."""
    finetune: tuple[str, ...] = ()
    """Recipes that finetune it, UCF101's first."""
    differs: str = ""
    """How the recipe differs from the row; without a recipe, what is missing."""


ROWS = (
    Row("DPC", "R2D3D-18", "UCF101, 128 px", 60.6, None, DPC, "dpc/r2d3d18_ucf101"),
    Row("DPC", "R2D3D-18", "K400, 128 px", 68.2, 34.5, DPC, "dpc/r2d3d18_kinetics"),
    Row("DPC", "R2D3D-34", "K400, 224 px", 75.7, 35.7, DPC, "dpc/r2d3d34_kinetics"),
    Row(
        "MemDPC",
        "R2D3D-34",
        "K400, RGB and flow",
        86.1,
        54.5,
        NOT_CHECKED,
        differs="no recipe with R2D3D-34, no optical flow",
    ),
    Row("MemDPC", "R2D3D-34", "K400, RGB", 78.1, 41.2, MEMORY, differs="no recipe with R2D3D-34"),
    Row("3D-RotNet", "R3D-18", "K400", 62.9, 33.7, f"second-hand, {CPC_README}", "rot3d/r3d18_kinetics", CTP, BASELINE),
    Row(
        "SpeedNet",
        "S3D-G",
        "K400",
        81.1,
        48.8,
        NOT_CHECKED,
        differs="no recipe with S3D-G, and our task has seven speeds where the paper has two",
    ),
    Row("SpeedNet", "I3D", "K400", 66.7, 43.7, NOT_CHECKED, differs="the same with I3D"),
    Row("VCOP", "R(2+1)D", "UCF101", 72.4, 30.9, NOT_CHECKED, differs="no recipe with R(2+1)D"),
    Row(
        "VCOP",
        "R3D",
        "UCF101",
        64.9,
        29.5,
        NOT_CHECKED,
        "vcop/r3d18_ucf101",
        CTP,
        f"R3D-18, and the depth of the paper's was not checked; {BASELINE}",
    ),
    Row(
        "CPC with a Transformer",
        "ResNet-18",
        "UCF101, 224 px",
        63.5,
        34.6,
        CPC_README,
        "cpc_transformer/resnet18_5pred3_ucf101",
        CPC,
    ),
    Row(
        "CPC with a Transformer",
        "ResNet-18",
        "UCF101, 196 px",
        60.3,
        32.1,
        CPC_README,
        differs="the number of frames is not published; near it comes the recipe of 224 px with `plan.size=196`",
    ),
    Row(
        "CPC with a Transformer",
        "ResNet-18",
        "UCF101, 128 px",
        58.9,
        29.9,
        CPC_README,
        "cpc_transformer/resnet18_8pred3_ucf101",
        differs="8 frames are the code's default, the row names none; no finetuning of 128 px",
    ),
    Row(
        "from scratch, as CPC",
        "ResNet-18",
        "none",
        43.6,
        15.5,
        CPC_README,
        finetune=CPC,
        differs="nothing to pretrain, finetuned with `--mode scratch`",
    ),
    Row(
        "CSTP",
        "R3D-18",
        "K400",
        70.5,
        34.4,
        "second-hand",
        differs="`cstp/resnet3d18_ucf101` is for UCF101; for Kinetics the original publishes the rate of R(2+1)D alone",
    ),
    Row("CtP", "R3D-18", "K400", 86.2, 57.0, MEMORY, "ctp/r3d18_kinetics", CTP),
    Row("CtP", "R(2+1)D-18", "K400", 88.4, 61.7, MEMORY, "ctp/r2plus1d18_kinetics", CTP_R2PLUS1D),
    Row(
        "VideoMAE",
        "ViT-B",
        "UCF101",
        91.3,
        None,
        "VideoMAE's model zoo, checked",
        "videomae/vit_b16_ucf101",
        ("recognition/videomae_vit_b16_ucf101",),
        "RandAugment is torchvision's",
    ),
    Row(
        "VideoMAE",
        "ViT-B",
        "HMDB51",
        None,
        62.6,
        "VideoMAE's model zoo, checked",
        "videomae/vit_b16_hmdb51",
        ("recognition/videomae_vit_b16_hmdb51",),
        "RandAugment is torchvision's; what was not published is UCF101's",
    ),
)
