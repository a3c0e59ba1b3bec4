"""The command line in forks of a process that has imported it already: it begins at once, so a kill can be timed.

Started anew each time, nine tenths of its life would be imports, and nine of ten kills would meet nothing else.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from tests.daemons import ROOT, Daemon

_PROGRAM = """
import json, os, sys
import adapters.storage.backup, adapters.storage.restore, adapters.storage.starts, adapters.storage.store, adapters.vault
import daemon.handlers.reseal_secrets
from daemon.cli.app import app

print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        code = 70
        try:
            app(json.loads(line), prog_name="tokd")
        except SystemExit as end:
            code = end.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forks:
    """`tokd` with a daemon's settings, one command at a time; `log` has what the commands print."""

    def __init__(self, daemon: Daemon, log: Path) -> None:
        self.log = log
        environ = {name: text for name, text in os.environ.items() if not name.startswith("TOKD_")}
        environ |= {f"TOKD_{key.upper().replace('.', '__')}": text for key, text in daemon.settings.items()}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(log)], cwd=daemon.folder, env=environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        assert self._read() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def begin(self, *words: str) -> int:
        """Start a command, return a descriptor of its process; `end` must be called for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        try:
            return os.pidfd_open(int(self._read()))
        except ProcessLookupError:
            return -1  # it has ended already

    def end(self, process: int) -> int:
        """Wait for a command's end and return its exit code, that of a signal being negative."""
        code = int(self._read())
        if process >= 0:
            os.close(process)
        return code

    def run(self, *words: str) -> int:
        """Run a command and return its exit code."""
        return self.end(self.begin(*words))

    def kill(self, after_s: float, *words: str) -> bool:
        """Run a command and end it with kill -9 after so long; tell whether it was still there."""
        process = self.begin(*words)
        threading.Event().wait(after_s)
        kill(process)
        return self.end(process) == -signal.SIGKILL

    def said(self) -> str:
        """Return the last that was printed."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def kill(process: int) -> None:
    """End a process of `begin` with kill -9, if it is still there."""
    if process >= 0:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
