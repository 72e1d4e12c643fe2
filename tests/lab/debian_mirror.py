"""A proxy through which Debian's packages come by this machine's own apt, each once."""

from __future__ import annotations

import http.server
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from lab import image

APT_HELPER = Path("/usr/lib/apt/apt-helper")


class Mirror(http.server.BaseHTTPRequestHandler):
    """Has each file fetched by apt, once, and gives it out."""

    folder = image.CACHE / "edgepack/tests-debian"

    def do_GET(self) -> None:
        path = self.folder / unquote(self.path).rpartition("/")[2]
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            command = [str(APT_HELPER), "download-file", self.path, str(path)]
            directly = {k: v for k, v in os.environ.items() if k != "http_proxy"}
            subprocess.run(command, capture_output=True, timeout=120, env=directly)
        if not path.is_file():
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        self.wfile.write(path.read_bytes())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """The address of a running proxy."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()
