"""A real `mlflow server` that tests start, kill and start again, and a gate in front of it that can misbehave."""

import contextlib
import http.client
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.ports import free_port

FIXED = {"error": (500, b"{}"), "deny": (401, b"You are not authenticated.")}


class TrackingServer:
    """`mlflow server` on one port and one sqlite file, whatever happens to its process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = ["server", "--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", f"{self.folder}/files", "--host", "127.0.0.1", "--port", str(self.port)]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with open(self.folder / "server.log", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *command],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        for _ in range(240):
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            time.sleep(0.25)
        pytest.fail("mlflow server did not answer within a minute")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Gate:
    """A server in front of a server: `mode` says what it does with each request.

    `pass` hands it on; `slow` does so after `seconds`; `error` answers 500 and `deny` 401; `lose` hands it on and
    answers 500, so that the caller cannot know that it has arrived. Paths that contain `refused` get 500 in any mode.
    """

    def __init__(self, behind: str, mode: str = "pass", seconds: float = 10.0) -> None:
        self.mode, self.seconds, self.refused = mode, seconds, "no path"
        self._behind = behind.removeprefix("http://")
        gate = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                mode = "error" if gate.refused in self.path else gate.mode
                if mode == "slow":
                    time.sleep(gate.seconds)
                status, content = FIXED[mode] if mode in FIXED else gate.ask(self, body)
                if mode == "lose":
                    status, content = FIXED["error"]
                with contextlib.suppress(OSError):  # the caller did not wait
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                del format, args

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def ask(self, request: http.server.BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._behind, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        try:
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 500, b"{}"
        finally:
            connection.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
