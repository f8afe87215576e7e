"""A server that a tracker's client can talk to until it is broken: gone, slow, or failing."""

import contextlib
import http.server
import threading
import time
from typing import Literal

Fault = Literal["gone", "slow", "failing"]


class BreakableServer:
    """Takes whatever it is sent, and holds nothing.

    Args:
        seconds_of_slow: how long each answer takes once it is slow.
    """

    def __init__(self, seconds_of_slow: float) -> None:
        self._seconds_of_slow = seconds_of_slow
        self._fault: Fault | None = None
        self._listen(0)
        self.uri = f"http://127.0.0.1:{self._port}"

    def break_down(self, fault: Fault) -> None:
        """From now on nobody listens, each answer takes long, or each is 500."""
        self._fault = fault
        if fault == "gone":
            self.close()

    def mend(self) -> None:
        """Answer again, at the same place."""
        if self._fault == "gone":
            self._listen(self._port)
        self._fault = None

    def close(self) -> None:
        """Listen no longer."""
        self._server.shutdown()
        self._server.server_close()

    def _listen(self, port: int) -> None:
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fault = owner._fault
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if fault == "slow":
                    time.sleep(owner._seconds_of_slow)
                with contextlib.suppress(OSError):  # the caller did not wait
                    self.send_response(500 if fault == "failing" else 200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
