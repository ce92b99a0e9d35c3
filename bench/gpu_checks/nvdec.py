"""Measure how busy the GPU and its decoders are, with NVML."""

import ctypes
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def utilization() -> Iterator[dict[str, float | str]]:
    """Yield a dict that has, after the block, the mean utilization of the decoders and the GPU, percent.

    Sampled ten times per second; the driver itself averages over up to a second, so blocks should last a few seconds.
    If the driver's library is missing, the dict says so instead.
    """
    busy: dict[str, float | str] = {}
    done = Event()
    try:
        counters = _counters()
    except (OSError, AttributeError, RuntimeError) as error:
        yield busy
        busy["utilization"] = f"unknown: {error}"
        return
    samples: dict[str, list[int]] = {name: [] for name in counters}

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
    """Return functions that query percentages from NVML; they return None for what the GPU does not count."""
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

    counters = {"decoder_percent": engine("nvmlDeviceGetDecoderUtilization"), "gpu_percent": whole}
    if hasattr(nvml, "nvmlDeviceGetJpgUtilization"):  # else an old driver
        counters["jpeg_percent"] = engine("nvmlDeviceGetJpgUtilization")
    return counters
