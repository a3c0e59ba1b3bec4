"""The simulator as a child process, for `tokd run --simulate` and for tests."""

import os
import shutil
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from typing import IO

CLIENT_KEY = "sim-client"
CLIENT_SECRET = "sim-secret"  # noqa: S105 - of a server that exists on this machine only
SCOPES = ("user.info.basic", "user.info.profile", "video.publish", "video.upload", "video.list")
REDIRECT_URI = "http://127.0.0.1:8765/callback/"
READY_S = 15.0
_MARK = "simulator ready at "


class SimulatorChild:
    """Starts `python -m adapters.simulator` and ends with whoever started it.

    It keeps its port from start to start: an upload that a crash interrupted goes on at the same address.
    """

    def __init__(self, state_dir: Path, port: int = 0, options: tuple[str, ...] = ()) -> None:
        self._folder = state_dir
        self._port = port
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start and wait until it accepts. Raises RuntimeError with what it printed. Call from the main thread."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for port in dict.fromkeys((self._port or self._last_port(), self._port)):
            self._process = self._spawn(port)
            line = self._first_line(self._process)
            if line.startswith(_MARK):
                self.url = line.removeprefix(_MARK).strip()
                (self._folder / "port").write_text(str(urllib.parse.urlsplit(self.url).port))
                return
            self.stop()
        raise RuntimeError(f"the simulator did not start: {line or 'it printed nothing'}")

    def stop(self, deadline_s: float = 5.0) -> bool:
        """End it by its pid. Safe twice, and before start."""
        process, self._process = self._process, None
        if process is None:
            return True
        process.terminate()
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return True

    def authorise(self, user: str, state: str) -> str:
        """Consent as `user`, as the person would in a browser, and return the authorisation code."""
        query = urllib.parse.urlencode(
            {
                "client_key": CLIENT_KEY, "response_type": "code", "scope": ",".join(SCOPES),
                "redirect_uri": REDIRECT_URI, "state": state, "_simulator_user": user,
            }
        )  # fmt: skip
        opener = urllib.request.build_opener(_StayHere())
        with opener.open(f"{self.url}/v2/auth/authorize/?{query}", timeout=10) as answer:
            target = urllib.parse.urlsplit(answer.headers["Location"])
        found = urllib.parse.parse_qs(target.query)
        if found.get("state") != [state] or "code" not in found:
            raise RuntimeError(f"the simulator did not consent: {found.get('error_description')}")
        return str(found["code"][0])

    def _last_port(self) -> int:
        try:
            return int((self._folder / "port").read_text())
        except (OSError, ValueError):
            return 0

    def _spawn(self, port: int) -> "subprocess.Popen[str]":
        setpriv = shutil.which("setpriv", path="/usr/bin:/bin")
        tether = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        argv = [
            *tether, sys.executable, "-m", "adapters.simulator", "--port", str(port),
            "--state-dir", str(self._folder), *self._options,
        ]  # fmt: skip
        root = Path(__file__).resolve().parents[2]
        environ = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(root), "LANG": "C.UTF-8"}
        return subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environ,
            start_new_session=True,
        )  # fmt: skip

    @staticmethod
    def _first_line(process: "subprocess.Popen[str]") -> str:
        lines: list[str] = []

        def drain() -> None:
            if process.stdout is not None:
                for line in process.stdout:
                    if not lines:
                        lines.append(line)
                        ready.set()
            ready.set()

        ready = threading.Event()
        # Read on for ever: a child whose pipe is full stands still.
        threading.Thread(target=drain, name="simulator-output", daemon=True).start()
        ready.wait(READY_S)
        return lines[0] if lines else ""


class _StayHere(urllib.request.HTTPRedirectHandler):
    """The redirect leads to the app's own callback: its address is the answer."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> IO[bytes]:
        """Return the redirect itself."""
        del req, code, msg
        fp.headers = headers  # type: ignore[attr-defined]
        return fp
