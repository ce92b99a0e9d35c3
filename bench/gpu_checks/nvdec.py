"""How busy the GPU and its decoders are, from NVML."""

import ctypes
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def utilization() -> Iterator[dict[str, float | str]]:
    """Yield a dict that holds, after the block, the mean percentages that the decoders and the GPU were busy.

    Asked ten times a second; the driver averages over up to a second itself, so blocks of a few seconds say something
    and shorter ones little. Where the driver's library is missing the dict says so instead.
    """
    busy: dict[str, float | str] = {}
    samples: dict[str, list[int]] = {name: [] for name in ("decoder_percent", "jpeg_percent", "gpu_percent")}
    done = Event()
    try:
        counters = _counters()
    except (OSError, AttributeError, RuntimeError) as error:
        yield busy
        busy["utilization"] = f"unknown: {error}"
        return

    def watch() -> None:
        while not done.wait(0.1):
            for name, counter in counters.items():
                value = counter()
                if value is not None:
                    samples[name].append(value)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield busy
    finally:
        done.set()
        watcher.join()
        busy |= {name: round(statistics.fmean(values), 1) for name, values in samples.items() if values}


def _counters() -> dict[str, Callable[[], int | None]]:
    """Return functions that ask NVML for percentages; None for what the GPU does not count."""
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
