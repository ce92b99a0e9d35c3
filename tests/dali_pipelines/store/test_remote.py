"""Files at URLs, on a local web server that waits, counts and fails as tests require."""

from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from configs.errors import UserError
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.formats import Source
from dali_pipelines.store import remote, source
from dali_pipelines.store.index import Index
from dali_pipelines.store.listing import Entry, expand, kind, list_folder, size_and_time
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import Span, exists, joined, read_file, storage_of
from tests.helpers.http_files import served

pytestmark = pytest.mark.usefixtures("short_remote_waits")

CONTENT = np.random.default_rng(0).integers(0, 256, 600_000, np.uint8)
NAME = "a b#c%41.bin"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("files")
    (root / NAME).write_bytes(CONTENT.tobytes())
    for name in ("shard000.tar", "shard001.tar", "shard002.tar", "deep/er/c.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def server(folder):
    with served(folder) as files:
        yield files


@pytest.fixture
def url(server):
    return joined(server.url, NAME)


def read(url, *ranges):
    return storage_of(url).read([Span(url, *one) for one in ranges])


def test_remote_bytes_equal_local_ones_for_any_name(server, url):
    assert storage_of(url).size(url) == len(CONTENT)
    assert (read_file(url) == CONTENT).all()
    ranges = [(0, 3), (10, 20), (20, 20), (500_000, 600_000), (5, 6)]
    got = read(url, *ranges)
    assert got.flags.writeable
    assert (got == np.concatenate([CONTENT[start:end] for start, end in ranges])).all()


def test_nearby_spans_share_a_request_and_requests_run_in_parallel(server, url, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 60)  # on a busy machine a late answer was asked for again
    server.delay = 0.2
    ranges = [(start, start + 1000) for start in (0, 5000, 9000, 300_000, 301_500, 500_000)]
    got = read(url, *ranges)
    assert sorted(span for _, span in server.asked) == ["bytes=0-9999", "bytes=300000-302499", "bytes=500000-500999"]
    assert server.most_at_once == 3
    assert (got == np.concatenate([CONTENT[start:end] for start, end in ranges])).all()


@pytest.mark.parametrize("fault", [500, 503, 429, 408, "reset", "cut", "hang"])
def test_transient_errors_are_retried(server, url, fault):
    server.fault = lambda path, n: fault if n < 2 else None
    assert (read(url, (7, 4000)) == CONTENT[7:4000]).all()
    assert len(server.asked) == 3


def test_only_failed_ranges_are_requested_again(server, url):
    server.fault = lambda path, n: 503 if n == 1 else None
    read(url, (0, 10), (300_000, 300_010), (599_990, 600_000))
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (403, PermissionError, r"the server refuses it \(403\): give keys as docs/remote.md says"),
        (401, PermissionError, r"refuses it \(401\)"),
        (404, FileNotFoundError, "no such file or bucket"),
        (400, OSError, r"answers 400 \(Bad Request\)"),
        ("/here", OSError, "redirects without end"),
    ],
)
def test_permanent_errors_are_not_retried(server, url, fault, kind, text):
    server.fault = lambda path, n: fault
    with pytest.raises(kind, match=text) as caught:
        read(url, (7, 4000))
    assert caught.value.filename == url
    assert len([path for path, _ in server.asked if path != "/here"]) == 1


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (503, r"its server answers 503"),
        ("hang", "does not answer"),
        ("reset", "cannot be reached"),
        ("cut", r"broke off in the middle: Not enough data .*received 1996 of 3993 bytes"),
    ],
)
def test_retries_end_after_a_few_tries(server, url, fault, text):
    server.fault = lambda path, n: fault
    with pytest.raises(OSError, match=text) as caught:
        read(url, (7, 4000))
    assert caught.value.filename == url
    tries = 1 + len(remote.PAUSES)
    assert len(server.asked) in (tries, 2 * tries)  # aiohttp retries at once when a connection ends


def test_a_redirect_is_followed(server, url, folder):
    moved = f"{server.url}/moved.bin"
    server.fault = lambda path, n: joined("", NAME.replace("%", "%25").replace("#", "%23")) if "moved" in path else None
    assert (read(moved, (7, 4000)) == CONTENT[7:4000]).all()


def test_a_server_that_is_down_is_left_alone_for_a_while(server, url, monkeypatch):
    server.fault = lambda path, n: "reset"
    for _ in range(remote.SILENT):
        with pytest.raises(OSError, match="cannot be reached"):
            read(url, (0, 10))
    num_requests = len(server.asked)
    with pytest.raises(OSError, match="did not answer for the last files either"):
        read(url, (0, 10))
    assert len(server.asked) == num_requests
    server.fault = lambda path, n: None
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.0)  # as if it had passed
    assert (read(url, (0, 10)) == CONTENT[:10]).all()


def test_a_file_that_ends_too_early_is_an_error(url):
    for ranges in [(599_990, 600_010)], [(700_000, 700_010)], [(0, 10), (599_999, 600_001)]:
        with pytest.raises(OSError, match=rf"it ends before byte {ranges[-1][1]}: prepare it again") as caught:
            read(url, *ranges)
        assert caught.value.filename == url


def test_a_server_without_range_support_is_an_error(folder):
    """Python's own web server is one: asked for 100 bytes in the middle, it sends the whole file."""

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as web:
        Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        url = joined(f"http://127.0.0.1:{web.server_port}", NAME)
        assert (read_file(url) == CONTENT).all()
        for span in (100, 200), (0, 100), (300_000, 900_000):
            with pytest.raises(OSError, match="sends whole files, not ranges: use another one"):
                read(url, span)
        web.shutdown()


def test_an_unreachable_server_names_the_url():
    with pytest.raises(ConnectionError, match=r"its server cannot be reached: .*: 'http://127.0.0.1:9/a'"):
        read("http://127.0.0.1:9/a", (0, 1))
    with pytest.raises(UserError, match=r"cannot read http://127.0.0.1:9/data/index.npz: its server cannot be reached"):
        Index.load("http://127.0.0.1:9/data")


def test_a_missing_fsspec_package_is_named(monkeypatch):
    monkeypatch.setitem(known_implementations, "odd", {"class": "no_such_package.Files", "err": "Install it"})
    with pytest.raises(UserError, match="odd://a/b: a package for odd:// is missing: pip install no_such_package"):
        read_file("odd://a/b")


class HostFiles(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files that, as those of ftp and sftp, need a host, which is in the URL and not in their paths."""

    protocol = "hosted"

    def __init__(self, host, **options):
        assert host == "example"
        super().__init__(**options)

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("hosted://example")

    @staticmethod
    def _get_kwargs_from_urls(url):
        return {"host": url.split("/")[2]} if url.startswith("hosted://") else {}


def test_the_host_in_a_url_is_given_to_a_file_system_that_needs_one(folder, monkeypatch):
    monkeypatch.setitem(known_implementations, "hosted", {"class": f"{__name__}.HostFiles"})
    url = f"hosted://example{folder}"
    assert (read_file(f"{url}/{NAME}") == CONTENT).all()
    assert [entry.name for entry in list_folder(url)] == sorted(path.name for path in folder.iterdir())
    assert expand(f"{url}/*0[12].tar") == [f"{url}/shard001.tar", f"{url}/shard002.tar"]


def test_a_file_system_that_needs_more_than_a_url_says_so():
    with pytest.raises(OSError, match=r"dbfs:// needs options, see docs/remote.md \(.*'instance' and 'token'\)"):
        read_file("dbfs://host/a.mp4")
    with pytest.raises(UserError, match=r"zip://a.mp4::/x.zip: give the path or URL of the archive itself"):
        read_file("zip://a.mp4::/x.zip")


def test_a_web_page_in_place_of_a_file_counts_as_missing(server, tmp_path):
    url = f"{server.url}/deep"  # the server lists this folder as a page
    with pytest.raises(FileNotFoundError, match="its server sends a web page instead: check the address") as caught:
        read_file(url)
    assert caught.value.filename == url
    server.fault = lambda path, n: "/deep" if "none" in path else None
    with pytest.raises(UserError, match=r"list of videos '.*/none.csv': its server sends a web page instead"):
        _ = Source(f"{server.url}/none.csv").text
    with pytest.raises(UserError, match=r"none is no prepared dataset \(it has no index.npz\)"):
        Index.load(f"{server.url}/none")
    with pytest.raises(UserError, match=r"no video files in .*/none-b.mp4.*sends a web page counts as a folder"):
        find_videos([f"{server.url}/none-b.mp4"], outside=tmp_path)


def test_a_server_that_tells_no_size_is_an_error_that_names_the_url_once(server, url):
    server.fault = lambda path, n: "chunked"
    with pytest.raises(OSError, match="does not tell the file's size: use another one") as caught:
        read_file(url)
    assert caught.value.filename == url
    with pytest.raises(VideoError, match="cannot be opened: its server does not tell the file's size"):
        source.Source(url)


def test_options_come_from_fsspecs_configuration(monkeypatch, server, url):
    monkeypatch.setitem(fsspec.config.conf, "http", {"headers": {"Authorization": "Bearer key"}})
    assert remote.filesystem("http").kwargs["headers"] == {"Authorization": "Bearer key"}
    assert remote.filesystem("http").client_kwargs["timeout"].sock_read == remote.TIMEOUT_SECONDS
    assert (read(url, (0, 10)) == CONTENT[:10]).all()


def test_a_remote_folder_is_listed(server, url):
    assert list_folder(server.url) == [
        Entry(NAME, "file"),
        Entry("deep", "folder"),
        *(Entry(f"shard00{n}.tar", "file") for n in range(3)),
    ]
    assert list_folder(f"{server.url}/deep/er/") == [Entry("c.mp4", "file")]
    assert [kind(at) for at in (server.url, f"{server.url}/deep", url)] == ["folder", "folder", "file"]
    assert kind(f"{server.url}/nothing") == ""
    with pytest.raises(FileNotFoundError, match="no such file"):
        list_folder(f"{server.url}/nothing")


def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path):
    (tmp_path / "caf\udce9.mp4").write_bytes(b"latin")
    with served(tmp_path) as files:
        (entry,) = list_folder(files.url)
        found = find_videos([files.url], outside=tmp_path / "out").videos
    assert entry.name == "caf\udce9.mp4"
    assert {name: place.location for name, place in found.items()} == {"caf\udce9": f"{files.url}/caf%E9.mp4"}


def test_braces_and_stars_in_urls_are_expanded(server):
    shards = [f"{server.url}/shard00{n}.tar" for n in range(3)]
    assert expand(f"{server.url}/shard{{000..002}}.tar") == shards
    assert expand(f"{server.url}/shard00{{0,2}}.tar") == [shards[0], shards[2]]
    assert expand(f"{server.url}/*.tar") == shards
    assert expand(f"{server.url}/{{x}}.tar") == [f"{server.url}/{{x}}.tar"]
    with pytest.raises(UserError, match=r"\*.zip: there are no such files"):
        expand(f"{server.url}/*.zip")
    with pytest.raises(UserError, match="more than 1000000 files"):
        expand("s3://b/{0..99999999999}.tar")


def test_size_and_time_of_a_remote_file(folder, server, url):
    size, time_ns = size_and_time(url)
    assert size == len(CONTENT)
    assert abs(time_ns - (folder / NAME).stat().st_mtime_ns) <= 1_000_000_000


def test_an_error_about_a_list_names_its_url(server):
    url = f"{server.url}/shard000.tar"

    lines = Source(url)
    assert lines.text == "shard000.tar"
    assert str(lines.error("x", "a line must be y")) == f"{url}: a line must be y, and not 'x'"
    assert exists(url)
    assert not exists(f"{server.url}/none")
