"""A newer systemd than this machine's, in a folder: Debian's next release, with nothing running in it."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.systemd.machine import ROOT
from tests.systemd.probes import MOST_EXPOSED
from tests.systemd.stage import exposure_of

SUITE = "trixie"
WITHIN_S = 900
# What the units start must be there, or `verify` says so; it looks at no more than that it may be run.
STARTED = ("/opt/tokd/bin/tokd", "/usr/bin/Xvfb", "/bin/kill")


class Newer:
    """A tree with that systemd."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.version = self._run("systemctl", "--version").stdout.split()[1]
        for path in STARTED:
            program = root / path.lstrip("/")
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text("#!/bin/sh\n")
            program.chmod(0o755)
        for unit in (ROOT / "systemd").glob("*.service"):
            shutil.copy(unit, root / "etc/systemd/system")

    def exposed(self, unit: str) -> tuple[float, list[str]]:
        """Return a unit's exposure by this systemd, and what is wrong with its text or its exposure."""
        path = f"/etc/systemd/system/{unit}"
        told = self._run(
            "systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}", path
        )
        value = exposure_of(told.stdout)
        wrong = [f"{unit} is exposed with {value} on {self.version}"] if told.returncode else []
        checked = self._run("systemd-analyze", "verify", path)
        return value, wrong + [f"verify on {self.version}: {line}" for line in checked.stderr.splitlines()]

    def _run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["chroot", str(self._root), *words], capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip


@contextlib.contextmanager
def systemd() -> Iterator[tuple[Newer | None, str]]:
    """Lend such a tree, made with debootstrap; or None, and why there is none."""
    if shutil.which("debootstrap") is None:
        yield None, "debootstrap is not installed"
        return
    root = Path(tempfile.mkdtemp(prefix="tokd-newer-", dir="/var/tmp"))
    try:
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=systemd", SUITE, str(root)], capture_output=True, text=True,
            check=False, timeout=WITHIN_S,
        )  # fmt: skip
        if made.returncode != 0:
            yield None, f"debootstrap: {(made.stdout + made.stderr).strip().splitlines()[-1:]}"
        else:
            yield Newer(root), ""
    finally:
        shutil.rmtree(root, ignore_errors=True)
