"""The person at a bare machine, with tokd's folder in their home."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.systemd.bare import PERSON, what_is_missing
from tests.systemd.machine import ENVIRON, Machine

SUITES = os.environ.get("TOKD_BARE", "").split()
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not SUITES, reason="started by make test-install"),
    pytest.mark.skipif(
        bool(SUITES) and what_is_missing() is not None, reason=str(what_is_missing() if SUITES else "")
    ),
]

HOME = f"/home/{PERSON}"
FOLDER = f"{HOME}/tokd"
LONGEST_S = 1500  # a browser and its libraries are fetched


@dataclass
class Newcomer:
    """What they type, in the folder of tokd once it is there."""

    suite: str
    machine: Machine

    def words(self, script: str) -> list[str]:
        return ["runuser", "-u", PERSON, "--", "env", f"HOME={HOME}", "bash", "-euo", "pipefail", "-c",
                f"cd {FOLDER} 2>/dev/null || cd {HOME}\n{script}"]  # fmt: skip

    def person(self, script: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Run a script as the person."""
        begun = time.monotonic()
        done = self.machine.run(*self.words(script), **({"within_s": LONGEST_S} | more))
        if (took := time.monotonic() - begun) > 10:
            print(f"  {self.suite}: {took:.0f} s: {script.strip().splitlines()[-1]}", flush=True)
        return done

    @contextlib.contextmanager
    def running(self, script: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a script as the person that stays; what it says can be read, and it can be written to."""
        process = subprocess.Popen(
            ["nsenter", "-t", str(self.machine.pid), "-m", "-p", "-u", "-i", "-C", "--", "env", "-i",
             *(f"{name}={value}" for name, value in ENVIRON.items()), *self.words(script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/",
        )  # fmt: skip
        try:
            yield process
        finally:  # what it has started in there ends with the machine, and until then holds the pipe
            process.kill()
            process.wait()
