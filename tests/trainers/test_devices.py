"""An unusable GPU is reported in one line with the way out; these tests need no GPU."""

import pytest
import torch

from configs.errors import UserError
from trainers.engine import devices
from trainers.engine.devices import choose_device

OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)


@pytest.fixture
def cuda(monkeypatch):
    """Return a function that fakes torch's view of a machine: CUDA's init error, GPU count and free memory."""

    def pretend(*, error: str = "", gpus: int = 0, free: int | str = 80 << 30) -> None:
        def init():
            if error:
                raise RuntimeError(error)

        def memory(device):
            if isinstance(free, str):
                raise RuntimeError(free)
            return free, 80 << 30

        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
        monkeypatch.setattr(torch.version, "cuda", "13.0")

    return pretend


@pytest.fixture
def has_driver(monkeypatch, tmp_path):
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(devices, "DRIVER_FILE", tmp_path / "nvidiactl")


def test_without_a_gpu_the_cpu_is_chosen_silently(cuda, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "DRIVER_FILE", tmp_path / "none")
    cuda(error="Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU")
    assert choose_device("auto", 0) == (torch.device("cpu"), "")


@pytest.mark.usefixtures("has_driver")
def test_with_an_old_driver_the_cpu_is_chosen_with_a_note(cuda):
    cuda(error=OLD_DRIVER)
    device, note = choose_device("auto", 0)
    assert device == torch.device("cpu")
    assert note == (
        f"training on the CPU: torch {torch.__version__} for CUDA 13.0 finds no usable GPU (The NVIDIA driver on your "
        "system is too old (found version 11040)); update the driver, or install torch and DALI for its CUDA"
    )
    with pytest.raises(UserError, match=r"^--device cuda: .*too old.*or pass --device cpu$"):
        choose_device("cuda", 0)


def test_hidden_gpus_are_distinguished_from_missing_ones(cuda, monkeypatch):
    cuda()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="sees no GPU, CUDA_VISIBLE_DEVICES is ''; or pass"):
        choose_device("cuda", 0)


def test_every_rank_has_its_own_gpu(cuda):
    cuda(gpus=2)
    assert choose_device("auto", 1) == (torch.device("cuda", 1), "")
    with pytest.raises(UserError, match=r"local rank 2 has no GPU, 2 GPUs visible.*--nproc-per-node"):
        choose_device("cuda", 2)
    assert choose_device("cpu", 2) == (torch.device("cpu"), "")


def test_a_rank_of_unknown_number_takes_an_only_gpu_and_no_other(cuda):
    cuda(gpus=1)
    assert choose_device("cuda", None) == (torch.device("cuda", 0), "")
    cuda(gpus=4)
    with pytest.raises(UserError, match=r"^4 GPUs are visible, and LOCAL_RANK does not say which.*torchrun, or set it"):
        choose_device("auto", None)
    assert choose_device("cpu", None) == (torch.device("cpu"), "")


def test_a_full_gpu_is_refused_with_its_free_memory(cuda):
    cuda(gpus=1, free=300 << 20)
    with pytest.raises(UserError, match=r"GPU 0 has 300 of 81920 MiB free.*nvidia-smi.*CUDA_VISIBLE_DEVICES"):
        choose_device("auto", 0)
    cuda(gpus=1, free="CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")
    with pytest.raises(UserError, match=r"^GPU 0 cannot be used: CUDA error: out of memory; `nvidia-smi`"):
        choose_device("auto", 0)


@pytest.mark.parametrize("name", ["cuda:1", "gpu", torch.device("cpu")])
def test_another_name_is_refused_and_not_taken_for_the_first_gpu(cuda, name):
    cuda(gpus=2)
    with pytest.raises(UserError, match=r"^device .*: give auto, cpu or cuda; CUDA_VISIBLE_DEVICES"):
        choose_device(name, 0)
