"""Looks at what a daemon has left open with the eyes of another user of this machine, who has no name here."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

UID = 47_111  # nobody's
_WITHIN_S = 120
# Run by the system's own Python, for the other user cannot read ours. It tells what could be done.
_PROBE = r"""
import json, os, socket, sys
wanted, found = json.load(sys.stdin), []

def attempt(what, deed):
    try:
        answer = deed()
    except OSError:
        return
    found.append([what, answer if isinstance(answer, str) else ""])

def close(number):
    os.close(number)

def connect(sock, address, word=b""):
    with sock:
        sock.settimeout(5)
        sock.connect(address)
        if not word:
            return ""
        sock.sendall(word)
        try:
            return sock.recv(300).decode("latin-1")
        except OSError:
            return "connected"

def socket_of(name):
    return connect(socket.socket(socket.AF_UNIX), "\0" + name[1:] if name.startswith("@") else name)

def make(folder):
    path = os.path.join(folder, "made-by-another-user")
    close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.unlink(path)

for path in wanted["files"]:
    attempt("read " + path, lambda: close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)))
    attempt("write " + path, lambda: close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)))
for path in wanted["folders"]:
    attempt("list " + path, lambda: str(os.listdir(path))[:200])
    attempt("make a file in " + path, lambda: make(path))
for path in wanted["sockets"]:
    attempt("connect to " + path, lambda: socket_of(path))
for port in wanted["ports"]:
    words = b"GET /json/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    attempt("connect to port %d" % port, lambda: connect(socket.socket(), ("127.0.0.1", port), words))
for pid in wanted["pids"]:
    for name in ("environ", "mem", "maps", "auxv", "syscall"):
        attempt("read %s of %d" % (name, pid), lambda: open("/proc/%d/%s" % (pid, name), "rb").read(1).decode("latin-1"))
    attempt("list the files of %d" % pid, lambda: str(os.listdir("/proc/%d/fd" % pid)))
    attempt("look at the folder of %d" % pid, lambda: os.readlink("/proc/%d/cwd" % pid))
    attempt("signal %d" % pid, lambda: os.kill(pid, 0))
json.dump(found, sys.stdout)
"""


@dataclass
class Wanted:
    """What the other user tries. `pids` are processes that they try to look into."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many tries of each kind these are."""
        return {name: len(each) for name, each in asdict(self).items() if each}


def below(*tops: Path) -> Wanted:
    """Return all that lies below these folders: files to read and write, folders to look and write into, sockets."""
    found = Wanted()
    for path in (each for top in tops for each in (top, *top.rglob("*"))):
        with contextlib.suppress(OSError):
            if path.is_socket():
                found.sockets.append(str(path))
            elif path.is_dir():
                found.folders.append(str(path))
            elif not path.is_symlink():
                found.files.append(str(path))
    return found


def listening(processes: Iterable[psutil.Process]) -> tuple[set[int], set[str]]:
    """Return the TCP ports and the Unix sockets with a name on which these processes listen."""
    ports, names = set(), set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            ports |= {
                each.laddr.port
                for each in process.net_connections("inet")
                if each.status == psutil.CONN_LISTEN
            }
            names |= {each.laddr for each in process.net_connections("unix") if each.laddr}
    return ports, names


def can_be_one() -> bool:
    """Tell whether this process may become another user."""
    return os.geteuid() == 0 and shutil.which("python3", path="/usr/bin") is not None


def tried(wanted: Wanted) -> dict[str, str]:
    """Return what another user was able to do, and what came of it. Must be called by root."""
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", _PROBE], input=json.dumps(asdict(wanted)), capture_output=True, text=True,
        check=True, timeout=_WITHIN_S, user=UID, group=UID, extra_groups=[], env={}, cwd="/",
    )  # fmt: skip
    found: list[tuple[str, str]] = json.loads(done.stdout)
    return dict(found)


def told_by(pids: Iterable[int], secrets: dict[str, str]) -> list[str]:
    """Return which processes show a secret in their command line, which all users see, or in their environment."""
    found = []
    for pid in pids:
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/{name}").read_bytes()
                found += [
                    f"{what} in {name} of {pid}" for what, value in secrets.items() if value.encode() in text
                ]
    return found


def describe(found: dict[str, Any]) -> list[str]:
    """Return lines about what was found."""
    return [
        f"another user can {what}: {text[:100]}" if text else f"another user can {what}"
        for what, text in found.items()
    ]
