"""A web server for files, with ranges."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Ranged(SimpleHTTPRequestHandler):
    """A file server with ranges, as nginx is one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            data = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            self.send_error(404)
            return
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        part = data[int(first):int(last) + 1]
        self.was_read(len(part))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def was_read(self, nbytes: int) -> None:
        """For who counts."""

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def web_server(folder: Path, address: str = "127.0.0.1", handler: type[Ranged] = Ranged) -> Iterator[str]:
    """Serves a folder; the URL."""
    server = ThreadingHTTPServer((address, 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{address}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
