"""A machine inside this one: an overlay over a file system, its own processes and network, a real systemd as process 1.

Nothing that happens in there reaches the outside: files go to a folder that is removed, processes die with it, and its
network is a loopback of its own. Needs root, overlayfs and cgroup2. The file system is this machine's, with the programs
that are installed here, or another tree (`tests/systemd/bare.py`).
"""

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "/usr/src/tokd"
# What a login or a desktop of the outside would bring along, systemd must not see.
ENVIRON = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

BOOT = r"""
set -e
R=$1/root
mount --make-rprivate /
mount -t overlay overlay -o lowerdir=$3,upperdir=$1/upper,workdir=$1/work "$R"
mkdir -p "$R{source}"
mount --bind "$2" "$R{source}"
mount -o remount,bind,ro "$R{source}"
mount -t proc proc "$R/proc"
mount -t sysfs -o ro sysfs "$R/sys"
mount -t cgroup2 cgroup2 "$R/sys/fs/cgroup"
mount --rbind /dev "$R/dev"
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mount -t tmpfs -o mode=1777 tmpfs "$R/tmp"
mkdir "$R/run/old"
cd "$R"
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
# Shared, as systemd makes it on a machine: in a private one credentials would silently come up empty.
mount --make-rshared /
[ -z "$NET" ] || ip link set lo up
exec env -i container=tokd-test PATH="$PATH" /lib/systemd/systemd --system --unit=tokd-test.target --show-status=0
""".replace("{source}", SOURCE)

# It dies with us, however we end.
ENTER = 'echo $$ > "$0/cgroup.procs"; exec unshare --fork --pid --mount --cgroup --uts --ipc $NET --kill-child sh "$@"'
# It wants tokd, which is not there yet: a unit that nothing refers to is forgotten as soon as it has stopped, and with
# it how it has ended.
TARGET = (
    "[Unit]\nDescription=The machine is up\nDefaultDependencies=no\nAllowIsolate=yes\nWants=tokd.service\n"
)


PROGRAMS = {
    "unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux", "ip": "iproute2",
    "systemd-analyze": "systemd", "mosquitto": "mosquitto", "chromium": "chromium", "Xvfb": "xvfb", "ffmpeg": "ffmpeg",
    "xdotool": "xdotool",
}  # fmt: skip
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


class NotBooted(Exception):
    """This machine lets no other one run inside it; the text is what was said."""


def why_not() -> str | None:
    """Return what is missing here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/lib/systemd/systemd").exists():
        return "needs systemd"
    if _cgroup2() is None:
        return "needs a cgroup2 mount"
    missing = {PROGRAMS[name] for name in PROGRAMS if shutil.which(name, path=ENVIRON["PATH"]) is None}
    return f"needs {', '.join(sorted(missing))}" if missing else None


def _cgroup2() -> Path | None:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


class Machine:
    """One nested machine under `folder`, which must not be on an overlay itself."""

    def __init__(
        self, folder: Path, base: Path = Path("/"), source: Path = ROOT, *, has_own_network: bool = True
    ) -> None:
        """`base` is the file system that it begins with; `source` is seen at SOURCE, to be read only.

        Without a network of its own it has this machine's, so that programs can be installed in there.
        """
        self._has_own_network = has_own_network
        self.folder = folder
        self._base, self._source = base, source
        self._starter: subprocess.Popen[bytes] | None = None
        self.pid = 0
        top = _cgroup2()
        assert top is not None
        self._cgroup = top / f"tokd-test-{os.getpid()}-{next(_numbers)}"
        self._outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def boot(self) -> "Machine":
        """Start it. Raises NotBooted."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(exist_ok=True)
        units = self.folder / "upper/etc/systemd/system"
        units.mkdir(parents=True, exist_ok=True)
        (units / "tokd-test.target").write_text(TARGET)
        self._cgroup.mkdir()
        script = self.folder / "boot.sh"
        script.write_text(BOOT)
        with (self.folder / "boot.log").open("wb") as log:
            self._starter = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", ENTER, str(self._cgroup), str(script), str(self.folder),
                 str(self._source), str(self._base)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=ENVIRON | {"NET": "--net" if self._has_own_network else ""},
            )  # fmt: skip
        try:
            wait_until(self._is_up, 90, 0.1)
        except AssertionError:
            raise NotBooted(f"no machine boots in here: {self._words()}") from None
        return self

    def _words(self) -> str:
        return (self.folder / "boot.log").read_text(errors="replace").strip()[-500:]

    def _is_up(self) -> bool:
        assert self._starter is not None
        if self._starter.poll() is not None:
            raise NotBooted(f"no machine boots in here: {self._words()}")
        children = Path(f"/proc/{self._starter.pid}/task/{self._starter.pid}/children").read_text().split()
        if not children or Path(f"/proc/{children[0]}/comm").read_text().strip() != "systemd":
            return False
        self.pid = int(children[0])
        return self.run("systemctl", "is-active", "tokd-test.target", check=False).stdout.strip() == "active"

    def run(
        self,
        *words: str,
        check: bool = True,
        text_in: str | None = None,
        within_s: float = 120,
        online: bool = False,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in there, as its root; `online` gives it the network of the outside."""
        net = f"--net=/proc/self/fd/{self._outside}" if online else "-n"
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), net, "-m", "-p", "-u", "-i", "-C", "--", "env", "-i",
             *(f"{name}={value}" for name, value in ENVIRON.items()), *words],
            input=text_in, stdin=subprocess.DEVNULL if text_in is None else None, capture_output=True, text=True,
            timeout=within_s, check=False, cwd="/", pass_fds=(self._outside,),
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread, and the threads and processes that it starts, have the machine's network."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        theirs = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _join(theirs)
            yield
        finally:
            _join(before)
            os.close(before)
            os.close(theirs)

    def sh(self, script: str, **more: Any) -> str:
        """Run a shell script in there and return what it prints."""
        return self.run("sh", "-euc", script, **more).stdout

    def show(self, name: str, unit: str = "tokd.service") -> str:
        """Return one of systemd's properties of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def shown(self, *names: str, unit: str = "tokd.service") -> dict[str, str]:
        """Return several of them, as they are at one moment."""
        told = self.run("systemctl", "show", "-p", ",".join(names), unit).stdout
        return dict(line.split("=", 1) for line in told.splitlines() if "=" in line)

    def path(self, inside: str) -> Path:
        """Return where a file of in there is seen from here."""
        return Path(f"/proc/{self.pid}/root") / inside.lstrip("/")

    def journal(self, unit: str = "tokd.service", *more: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit, *more, check=False).stdout

    def processes(self, unit: str = "tokd.service") -> list[int]:
        """Return the unit's processes, by their ids in there."""
        seen = self.run("cat", f"/sys/fs/cgroup/system.slice/{unit}/cgroup.procs", check=False).stdout
        return [int(pid) for pid in seen.split()]

    def cut_power(self) -> None:
        """End all its processes by ending its first one. Its files stay: it can be booted again."""
        if self._starter is not None:
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
            else:
                self._starter.kill()
            self._starter.wait(30)
        # A group can go when its last process has gone, which takes a moment.
        wait_until(self._groups_are_gone, 15, what="the end of its control groups")
        self._starter, self.pid = None, 0

    def halt(self) -> None:
        """End all its processes, and remove its files."""
        self.cut_power()
        os.close(self._outside)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _groups_are_gone(self) -> bool:
        groups = [path for path in self._cgroup.rglob("*") if path.is_dir()]
        for group in sorted(groups, key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):
                group.rmdir()
        with contextlib.suppress(OSError):
            self._cgroup.rmdir()
        return not self._cgroup.exists()


def _join(network: int) -> None:
    """Change this thread's network. Python has os.setns from 3.12 on."""
    if _libc.setns(network, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
