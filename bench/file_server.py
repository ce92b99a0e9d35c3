"""A web server of files with ranges, that waits, counts and fails as a bench or a test wants it."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = Callable[[str, int], "int | str | None"]
"""What goes wrong with a path at its n-th request, from 0 on: an HTTP status, "hang", "reset", "cut" or the path of a
redirection; or None."""


@dataclass
class Files:
    """A running server.

    Attributes:
        url: of the folder.
        delay: seconds before each answer.
        ranges: whether ranges are honored.
        asked: path and range of each request; most_at_once: how many were open at the same time.
    """

    url: str = ""
    delay: float = 0.0
    ranges: bool = True
    fault: Fault = lambda path, n: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    open: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    ended: threading.Event = field(default_factory=threading.Event)

    def begin(self, path: str, span: str) -> int:
        """Count a request; return how many of its path there were before."""
        with self.lock:
            before = sum(asked == path for asked, _ in self.asked)
            self.asked.append((path, span))
            self.open += 1
            self.most_at_once = max(self.most_at_once, self.open)
            return before


class Handler(SimpleHTTPRequestHandler):
    """Answers from the folder of a `Files`, with ranges."""

    protocol_version = "HTTP/1.1"
    files: Files

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        """Answer without the file."""
        self.answer(body=False)

    def do_GET(self) -> None:
        """Answer with the file."""
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        """Wait, fail or send."""
        files = self.files
        number = files.begin(self.path, self.headers.get("Range", ""))
        try:
            files.ended.wait(files.delay)
            fault = "reset" if files.ended.is_set() else files.fault(self.path, number)  # connections outlive a server
            if fault == "hang":
                files.ended.wait()
            if fault in ("hang", "reset"):
                self.close_connection = True
            elif isinstance(fault, str) and fault.startswith("/"):
                self.send_response(302)
                self.send_header("Location", fault)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif isinstance(fault, int):
                self.send_error(fault)
            elif Path(self.translate_path(self.path)).is_dir():
                super().do_GET() if body else super().do_HEAD()
            else:
                self.send_file(body=body, cut=fault == "cut")
        finally:
            with files.lock:
                files.open -= 1

    def send_file(self, *, body: bool, cut: bool) -> None:
        """Send a file or the range of it that is asked for; the first half of that where it is to be cut."""
        try:
            data = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            self.send_error(404)
            return
        size, status = len(data), 200
        if (span := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))) and self.files.ranges:
            start, status = int(span[1]), 206
            if start >= size:
                self.send_error(416)
                return
            data = data[start : int(span[2]) + 1 if span[2] else None]
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", formatdate(Path(self.translate_path(self.path)).stat().st_mtime, usegmt=True))
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = cut


class Server(ThreadingHTTPServer):
    """Has a thread for each connection."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that are gone."""


@contextmanager
def served(folder: Path) -> Iterator[Files]:
    """Serve a folder at 127.0.0.1 while the block runs."""
    files = Files()

    class Own(Handler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

    Own.files = files
    server = Server(("127.0.0.1", 0), Own)
    files.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield files
    finally:
        files.ended.set()
        server.shutdown()
        server.server_close()
