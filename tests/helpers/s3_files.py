"""An S3 server on this machine, by moto."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from dali_pipelines.store import remote

BUCKET = "s3://bucket"


@contextmanager
def served(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a folder as a bucket while the block runs; yield its URL, which works in spawned processes too."""
    moto = pytest.importorskip("moto.server", reason="needs the extra s3test")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {"key": "test", "secret": "test", "endpoint_url": f"http://{host}:{port}"}
    patch.setenv("FSSPEC_S3", json.dumps(options))
    patch.setitem(fsspec.config.conf, "s3", options)
    remote._filesystem.cache_clear()
    try:
        files = remote.filesystem("s3")
        files.mkdirs("bucket", exist_ok=True)  # all servers of a process share their contents
        for path in folder.rglob("*"):
            if path.is_file():
                files.pipe_file(f"{BUCKET}/{path.relative_to(folder)}", path.read_bytes())
        files.invalidate_cache()
        yield BUCKET
    finally:
        server.stop()
        remote._filesystem.cache_clear()
