"""Make the stores that `bench/loader_throughput.py` compares, and describe them for its JSON."""

from argparse import Namespace
from typing import Any

from bench import data
from bench.peers.data import JPEG_QUALITY, SOURCE_GOP, SOURCE_SIZE, peer_store
from bench.peers.quality import equal_jpegs
from dali_pipelines.prepare.settings import encoding_of
from dali_pipelines.store.index import Index


def stores(options: Namespace) -> tuple[dict[str, Index], dict[str, Any]]:
    """Return the stores of `loader_throughput.py` by codec, made unless one is given, and their description for JSON.

    They hold the same videos.
    """
    with_peers = options.peers is not None
    if options.data_dir:
        index = Index.load(options.data_dir)
        found = {index.codec(0): index}
    else:
        videos = max(data.VIDEOS, options.batch_size)
        ways = [encoding_of(codec) for codec in options.codec]
        folder = data.DATA / f"peers_gop{SOURCE_GOP}"
        found = {
            way.codec: peer_store(folder / data.store_name(way), videos=videos, settings=way)
            if with_peers
            else Index.load(data.bench_store(videos=videos, codec=way.codec))
            for way in ways
        }
    said: dict[str, Any] = {
        name: {
            "root": str(index.root),
            "videos": len(index),
            "formats": list(index.formats),
            "stored_size": index.sizes_WH[0].tolist(),
        }
        for name, index in found.items()
    }
    if with_peers:
        said["sources"] = {"gop": SOURCE_GOP, "size": SOURCE_SIZE, "jpeg_quality": JPEG_QUALITY}
        said["equal_jpegs"] = equal_jpegs(next(iter(found.values())))
    return found, said
