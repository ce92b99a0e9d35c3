"""What the hardware decoders can do, from the driver; how busy they are, from NVML."""

import ctypes
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

NUMBERS = {"mpeg4": 2, "h264": 4, "jpeg": 5, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}  # cudaVideoCodec
CHROMA_420 = 1


class Caps(ctypes.Structure):
    """CUVIDDECODECAPS of the Video Codec SDK 12 and 13."""

    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("bit_depth_minus_8", ctypes.c_uint),
        ("reserved1", ctypes.c_uint * 3),
        ("supported", ctypes.c_ubyte),
        ("engines", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_macroblocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("histogram", ctypes.c_ubyte * 4),
        ("reserved3", ctypes.c_uint * 10),
        ("spare", ctypes.c_uint * 64),  # for a driver whose struct has grown
    )


def decoder_caps() -> dict[str, dict[str, int]]:
    """For each codec in 8-bit 4:2:0 whether the GPU decodes it, on how many engines and in which sizes, pixels."""
    import torch

    torch.zeros(1, device="cuda")  # the query wants a CUDA context
    ask = ctypes.CDLL("libnvcuvid.so.1").cuvidGetDecoderCaps
    found = {}
    for name, number in NUMBERS.items():
        caps = Caps(codec=number, chroma=CHROMA_420)
        status = ask(ctypes.byref(caps))
        fields = ("supported", "engines", "min_width", "min_height", "max_width", "max_height")
        found[name] = {"cuda_status": status, **{field: getattr(caps, field) for field in fields}}
    return found


@contextmanager
def watched() -> Iterator[dict[str, float | str]]:
    """Fills the dict, when the block ends, with the mean percentages that the decoders and the GPU were busy.

    Asked ten times a second; the driver averages over up to a second itself, so blocks of a few seconds say something
    and shorter ones little. Where the driver's library is missing the dict says so instead.
    """
    busy: dict[str, float | str] = {}
    samples: dict[str, list[int]] = {name: [] for name in ("decoder_percent", "jpeg_percent", "gpu_percent")}
    over = Event()
    try:
        ask = _questions()
    except (OSError, AttributeError, RuntimeError) as error:
        yield busy
        busy["utilization"] = f"unknown: {error}"
        return

    def watch() -> None:
        while not over.wait(0.1):
            for name, question in ask.items():
                value = question()
                if value is not None:
                    samples[name].append(value)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield busy
    finally:
        over.set()
        watcher.join()
        busy |= {name: round(statistics.fmean(values), 1) for name, values in samples.items() if values}


def _questions() -> dict[str, Callable[[], int | None]]:
    """What NVML is asked; each question returns per cent, or None where the GPU does not count it."""
    nvml = ctypes.CDLL("libnvidia-ml.so.1")
    gpu = ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(gpu)):
        raise RuntimeError("NVML does not start")

    def engine(function: str) -> Callable[[], int | None]:
        ask = getattr(nvml, function)
        percent, period = ctypes.c_uint(), ctypes.c_uint()
        return lambda: None if ask(gpu, ctypes.byref(percent), ctypes.byref(period)) else percent.value

    def whole() -> int | None:
        gpu_and_memory = (ctypes.c_uint * 2)()
        return None if nvml.nvmlDeviceGetUtilizationRates(gpu, gpu_and_memory) else gpu_and_memory[0]

    return {
        "decoder_percent": engine("nvmlDeviceGetDecoderUtilization"),
        "gpu_percent": whole,
        **(
            {"jpeg_percent": engine("nvmlDeviceGetJpgUtilization")}
            if hasattr(nvml, "nvmlDeviceGetJpgUtilization")
            else {}
        ),
    }
