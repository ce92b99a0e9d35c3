"""Python and its packages: whether versions match, and exactly one DALI is installed."""

import importlib
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from configs.errors import DALI
from dali_pipelines import kernels
from trainers.diagnosis import Finding, Subject

DALIS = {"nvidia-dali-cuda120": "12", "nvidia-dali-cuda130": "13"}
"""DALI distribution -> its CUDA major version."""


def check(subject: Subject) -> Iterator[Finding]:
    """Check versions first, then whether packages load."""
    versions = {name: installed(name) for name in ("clipfeed", "torch", "torchvision", *DALIS, "av")}
    yield Finding("ok", "python", f"{platform.python_version()}, clipfeed {versions['clipfeed']}")
    yield torch_and_torchvision(versions["torch"], versions["torchvision"])
    for name in ("clipfeed", "torchvision"):  # a torchvision fits only one torch
        yield from outside_bounds(name)
    yield one_dali([name for name in DALIS if versions[name]], torch_cuda())
    yield loads("torchvision", "torchvision.ops", "install the torchvision that belongs to your torch")
    yield loads("DALI", "nvidia.dali.fn", f"install {DALI}")
    yield pyav()
    yield pixels(compiled=kernels.NATIVE is not None)


def installed(name: str) -> str:
    """Return the version of a distribution; "" if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def pixels(*, compiled: bool) -> Finding:
    """Report whether the CPU's pixel operations are compiled, which matters if PyAV decodes."""
    if compiled:
        return Finding("ok", "pixels", "compiled, for videos that are decoded on the CPU")
    do = "install a C compiler (gcc), and clipfeed once more; a training whose videos a GPU decodes needs neither"
    return Finding("warning", "pixels", "not compiled: NumPy makes the same pixels, but takes much longer", do)


def outside_bounds(of: str) -> Iterator[Finding]:
    """Report packages whose versions another package's metadata rules out."""
    for line in (installed(of) and requires(of)) or ():
        requirement = Requirement(line)
        held = installed(requirement.name)
        if not requirement.marker and held and not requirement.specifier.contains(held, prereleases=True):
            text = f"{held}, {of} {installed(of)} needs {requirement.specifier}"
            yield Finding("problem", requirement.name, text, f"pip install '{requirement}'")


def torch_and_torchvision(torch: str, torchvision: str) -> Finding:
    """Check that both are installed."""
    if torch and torchvision:
        return Finding("ok", "torch", f"{torch}, torchvision {torchvision}")
    missing = [name for name, held in (("torch", torch), ("torchvision", torchvision)) if not held]
    return Finding("problem", "torch", f"{' and '.join(missing)} not installed", f"pip install {' '.join(missing)}")


def torch_cuda() -> str:
    """Return the CUDA version that torch was built for, such as "13.0"; "" for none, or if torch does not load."""
    try:
        return importlib.import_module("torch").version.cuda or ""
    except Exception:  # reported by `loads`
        return ""


def one_dali(found: list[str], cuda: str) -> Finding:
    """Check that exactly one DALI is installed, for torch's CUDA."""
    if not found:
        return Finding("problem", "DALI", "not installed", f"pip install {DALI}")
    if len(found) > 1:
        do = f"pip uninstall {' '.join(found)}, then install the one for your CUDA: see docs/install.md"
        return Finding("problem", "DALI", f"{' and '.join(found)} are both installed, in the same folder", do)
    text = f"{found[0]} {installed(found[0])}"
    if cuda and cuda.partition(".")[0] != DALIS[found[0]]:
        do = "install both for one CUDA: see docs/install.md"
        return Finding("warning", "DALI", f"{text}, but torch is for CUDA {cuda}", do)
    return Finding("ok", "DALI", text)


def loads(about: str, module: str, do: str) -> Finding:
    """Check that a module imports. It may raise anything: a mismatched torchvision raises RuntimeError."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return Finding("problem", about, f"does not load: {type(error).__name__}: {error}", do)
    return Finding("ok", about, "loads")


def pyav() -> Finding:
    """Check PyAV, its FFmpeg, and `prepare`'s default encoder."""
    try:
        av = importlib.import_module("av")
        ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    except Exception as error:
        return Finding("problem", "PyAV", f"does not load: {error}", "pip install av")
    text = f"{av.__version__}, with FFmpeg's libavcodec {ffmpeg}"
    if "libx264" not in av.codecs_available:
        do = "install av as a wheel, or prepare with another --codec"
        return Finding("warning", "PyAV", f"{text} without libx264", do)
    return Finding("ok", "PyAV", text)
