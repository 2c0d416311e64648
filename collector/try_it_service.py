"""The watched service of ``make run``: answers every GET with one line. Not part of an installation."""

from __future__ import annotations

import http.server
import sys


class Greeting(http.server.BaseHTTPRequestHandler):
    """Says that it is there."""

    def do_GET(self) -> None:
        """200 with one line, whatever the path."""
        body = b"The demo site answers.\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Probes come every few seconds; nobody reads about them."""


class Site(http.server.ThreadingHTTPServer):
    """As a real web server: while it is frozen the kernel goes on taking connections for it, and nobody answers them."""

    request_queue_size = 511


def main() -> None:
    """Serve on 127.0.0.1 at the port given as the only argument."""
    Site(("127.0.0.1", int(sys.argv[1])), Greeting).serve_forever()


if __name__ == "__main__":
    main()
