"""Serve files with byte ranges over HTTP, with delays, counts and failures."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

Fault = Callable[[str, int], "int | str | None"]
"""The fault of a path at its n-th request, from 0: an HTTP status, "hang", "reset", "cut", "chunked" (without a
size) or the path of a redirect; or None."""


@dataclass
class Files:
    """A running server.

    Attributes:
        folder: served at `url`.
        delay: seconds before each answer.
        asked: path and range of each request; most_at_once: maximum number of open requests.
    """

    folder: Path
    url: str = ""
    delay: float = 0.0
    fault: Fault = lambda path, n: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    open: int = 0
    most_at_once: int = 0

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Wait, then fail or send."""
        path = request.raw_path
        number = sum(asked == path for asked, _ in self.asked)
        self.asked.append((path, request.headers.get("Range", "")))
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)
        try:
            await asyncio.sleep(self.delay)
            fault = self.fault(path, number)
            if fault == "hang":
                await asyncio.Event().wait()
            if isinstance(fault, int):
                return web.Response(status=fault)
            if fault == "cut":
                return await self.half(request)
            if fault == "chunked":
                response = web.StreamResponse()
                response.enable_chunked_encoding()
                return response
            if fault == "reset":
                _disconnect(request)
            elif fault:
                return web.Response(status=302, headers={"Location": fault})
            folder = self.folder / request.match_info.get("filename", "")
            return self.listing(request, folder) if folder.is_dir() else await handler(request)
        finally:
            self.open -= 1

    def listing(self, request: web.Request, folder: Path) -> web.Response:
        """List a folder as links. Those to folders end with a slash, as with other servers."""
        at = request.path.rstrip("/")
        links = [quote(os.fsencode(f"{at}/{path.name}{'/' * path.is_dir()}")) for path in sorted(folder.iterdir())]
        return web.Response(text="".join(f'<a href="{link}">{link}</a>' for link in links), content_type="text/html")

    async def half(self, request: web.Request) -> web.StreamResponse:
        """Send half of a range and no more."""
        data = (self.folder / request.match_info["filename"]).read_bytes()[request.http_range]
        response = web.StreamResponse(status=206, headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        _disconnect(request)
        return response


def _disconnect(request: web.Request) -> None:
    if request.transport:
        request.transport.close()


@contextmanager
def served(folder: Path) -> Iterator[Files]:
    """Serve a folder at 127.0.0.1 during the block."""
    files, loop = Files(folder), asyncio.new_event_loop()
    app = web.Application(middlewares=[files.answer])
    app.router.add_static("/", folder, follow_symlinks=True)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)  # 0 would wait forever

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()

    loop.run_until_complete(start())
    files.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
