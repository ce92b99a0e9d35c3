"""Lend PyAV's FFmpeg to torchcodec, which ships none: `LD_LIBRARY_PATH=$(python -m tests.helpers.ffmpeg FOLDER)`."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory


def link_libraries(folder: Path) -> None:
    """Link the libraries of PyAV's wheel into `folder` under the names that the loader expects: libavcodec.so.62."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = find_spec("av")
    assert spec is not None
    assert spec.origin is not None
    with TemporaryDirectory(dir=folder) as new:  # renaming replaces a link, of another process or to an older PyAV
        for library in Path(spec.origin).parents[1].glob("av.libs/lib*"):
            if match := re.fullmatch(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+)[.\d]*", library.name):
                link = Path(new, match[1] + match[2])
                link.symlink_to(library)
                link.replace(folder / link.name)


if __name__ == "__main__":
    link_libraries(Path(sys.argv[1]))
    print(Path(sys.argv[1]).absolute())
