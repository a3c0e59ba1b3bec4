"""mosquitto as a child process: loopback only, its own passwords and rights, gone when the daemon is gone."""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from adapters.broker.acl import ANYBODY, Actors, acl_file
from adapters.broker.files import (
    check_name,
    config_text,
    kept_password,
    private_folder,
    socket_path,
    write_client_folder,
    write_private,
)
from daemon.domain.errors import AdapterFailed

log = logging.getLogger("tokd.broker")

HOST = "127.0.0.1"
READY_WITHIN_S = 5.0
LOOK_EVERY_S = 0.01
PORTS_TO_TRY = 50
MOST_LOG_BYTES = 5 * 1024 * 1024
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MosquittoChild:
    """One broker under `<state_dir>/broker/`. It keeps its port and its passwords from start to start.

    `start` must be called from the main thread: the broker dies with the *thread* that started it
    (PR_SET_PDEATHSIG), and only the main thread lives as long as the daemon.
    """

    def __init__(
        self,
        state_dir: Path,
        port: int,
        command: str,
        node: str,
        prefix: str,
        actors: tuple[str, ...] = ("me",),
    ) -> None:
        self._folder = (state_dir / "broker").absolute()
        self._wanted_port = port
        self._command = command
        self._node = node
        self._prefix = prefix
        self._actors = actors
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Return the address it listens on."""
        return HOST

    @property
    def port(self) -> int:
        """Return the port, which is another one than wanted where that was taken. Known after start."""
        return self._port if self._port is not None else self._wanted_port

    @property
    def socket_path(self) -> Path | None:
        """Return its Unix socket, None where the state folder's path is too long for one."""
        return socket_path(self._folder)

    @property
    def daemon_username(self) -> str:
        """Return the user that the daemon logs in as."""
        return f"tokd-{self._node}"

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        return self._process.pid if self._process and self.is_alive() else None

    def password_of(self, user: str) -> str:
        """Return a user's password. Raises AdapterFailed for a user the broker does not know."""
        if user not in self._users():
            raise AdapterFailed(f"the broker has no user {user!r}; it has {', '.join(self._users())}")
        return kept_password(private_folder(self._folder), user)

    def client_folder(self, user: str) -> Path:
        """Return a folder for XDG_CONFIG_HOME with which mosquitto_pub, _sub and _rr work as this user."""
        password = self.password_of(user)
        return write_client_folder(self._folder, user, password, self.host, self.port)

    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it accepts connections. From the main thread only.

        Raises AdapterFailed where mosquitto is missing or does not come up within 5 s.
        """
        if self.is_alive():
            return
        program = _find(self._command, "mosquitto")
        private_folder(self._folder)
        private_folder(self._folder / "data")
        self._port = self._choose_port()
        self._write_files()
        if (unix := self.socket_path) is not None:
            unix.unlink(missing_ok=True)
        argv = [_find("setpriv", "util-linux"), "--pdeathsig", "KILL", program, "-c", self._config()]
        with self._open_log() as output:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder,
                env={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C is for the daemon, which says `offline` first
            )  # fmt: skip
        self._wait_until_ready()
        log.info("broker started", extra={"action": "broker_started", "port": self.port, "pid": self.pid})

    def stop(self, deadline_s: float = 5.0) -> None:
        """End it; by force where it does not end in time. Safe twice and before start."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.info("broker stopped", extra={"action": "broker_stopped", "code": process.returncode})

    def _users(self) -> tuple[str, ...]:
        return (self.daemon_username, *self._actors)

    def _config(self) -> str:
        return str(self._folder / "mosquitto.conf")

    def _choose_port(self) -> int:
        """Return the port of the last start, else the wanted one, else the next one that is free."""
        memory = self._folder / "port.json"
        first = self._wanted_port
        candidates = list(range(first, min(first + PORTS_TO_TRY, 65536)))
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            last = json.loads(memory.read_text(encoding="utf-8"))
            if last["wanted"] == first:
                candidates.insert(0, int(last["used"]))
        for port in candidates:
            if _is_free(port):
                write_private(memory, json.dumps({"wanted": first, "used": port}) + "\n")
                return port
        raise AdapterFailed(f"no free port for the broker from {first} to {candidates[-1]}")

    def _write_files(self) -> None:
        write_private(Path(self._config()), config_text(self._folder, self.port))
        actors = Actors(daemon=self.daemon_username, node=self._node, prefix=self._prefix, plain=[ANYBODY])
        write_private(self._folder / "acl", acl_file(actors))
        clear = "".join(f"{check_name(user)}:{self.password_of(user)}\n" for user in self._users())
        draft = self._folder / "users.clear"
        write_private(draft, clear)
        try:  # -U hashes a file in place: on the command line everybody could read the passwords
            subprocess.run(
                [_find("mosquitto_passwd", "mosquitto"), "-U", str(draft)], check=True,
                capture_output=True, timeout=30, env={"PATH": SYSTEM_PATH},
            )  # fmt: skip
            write_private(self._folder / "users", draft.read_text(encoding="utf-8"))
        except (subprocess.SubprocessError, OSError) as error:
            raise AdapterFailed(f"mosquitto_passwd could not hash the passwords: {error}") from error
        finally:
            draft.unlink(missing_ok=True)

    def _open_log(self) -> BinaryIO:
        path = self._folder / "mosquitto.log"
        is_large = path.exists() and path.stat().st_size > MOST_LOG_BYTES
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_large else 0)
        return os.fdopen(os.open(path, flags, 0o600), "ab")

    def _wait_until_ready(self) -> None:
        process = self._process
        end = monotonic() + READY_WITHIN_S
        while process is not None and monotonic() < end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(LOOK_EVERY_S)
                self._process = None
                raise AdapterFailed(f"mosquitto ended at once with code {code}: {self._last_words()}")
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), LOOK_EVERY_S):
                return
        self.stop()
        raise AdapterFailed(f"mosquitto accepts no connection on {HOST}:{self.port}: {self._last_words()}")

    def _last_words(self) -> str:
        text = (self._folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")
        return " | ".join(text.splitlines()[-3:])


def _find(program: str, package: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    if found is None:
        raise AdapterFailed(f"{program} is not installed: apt install {package}")
    return found


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except (OSError, OverflowError):
            return False
        return True
