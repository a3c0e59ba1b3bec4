"""`unshare --net python -m tests.scorecard.closed_network FOLDER`: what tokd calls where nobody can be called.

In a network with nothing but loopback every module is imported and the daemon is started on its defaults with the
simulator; strace notes each address. Prints a line of JSON: calls within the machine, calls elsewhere, the state that a
post has reached, and whether a program that does call elsewhere was seen (the control).
"""

import fcntl
import ipaddress
import json
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.daemons import ROOT, Daemon, make_clip
from tests.unit.test_house import SCRIPTS, module_of, sources

STRACE = ("strace", "-D", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-e", "signal=none")
_ADDRESS = re.compile(
    r"^\d+ +(\w+)\(.*?sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )\"([^\"]+)\""
)
_UP = 0x1
_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914
_NAMES = 53  # a resolver on loopback would ask others
_CONTROL = """
import socket
for address in ("192.0.2.1", "2001:db8::1", "tokd.example"):
    try:
        socket.create_connection((address, 443), 2)
    except OSError:
        pass
"""
_CONTROL_CALLS = 3  # two addresses, and whoever was asked for the name


def raise_loopback() -> None:
    """Do what `ip link set lo up` does, where there is no `ip`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        asked = struct.pack("16sh", b"lo", 0)
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(door, _GET_FLAGS, asked + bytes(14)))
        fcntl.ioctl(door, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP) + bytes(14))


def calls(trace: Path) -> tuple[int, list[str]]:
    """Return how many calls stayed within the machine, and those that did not."""
    local, elsewhere = 0, []
    for line in trace.read_text(errors="replace").splitlines():
        found = _ADDRESS.search(line)
        if not found:
            continue
        call, port, address = found.groups()
        if ipaddress.ip_address(address).is_loopback and int(port) != _NAMES:
            local += 1
        else:
            elsewhere.append(f"{address} port {port} ({call})")
    return local, elsewhere


def traced(trace: Path, *argv: str) -> None:
    subprocess.run([*STRACE, "-o", str(trace), *argv], cwd=ROOT, check=True, capture_output=True, timeout=120)


def post_one(folder: Path) -> tuple[Path, str]:
    """Start tokd as it comes, with the simulator, and let it post."""
    trace = folder / "daemon.strace"
    daemon = Daemon(folder)
    daemon.settings = {name: daemon.settings[name] for name in ("daemon.state_dir", "media.roots")}
    daemon.options = ("--simulate",)
    daemon.wrapper = (*STRACE, "-o", str(trace))
    make_clip(daemon.media / "clip.mp4")
    daemon.start(wait=False)
    try:
        daemon.wait_ready(60)
        daemon.wait_settled()
        reply = daemon.schedule()
        state = daemon.wait_state(
            reply["result"]["post"], "published", "failed", "held", "uncertain", within_s=90
        )
        return trace, str(state["state"])
    finally:
        daemon.stop(60)


def main(folder: Path) -> None:
    """Print what was seen."""
    raise_loopback()
    control = folder / "control.strace"
    traced(control, sys.executable, "-c", _CONTROL)
    imports = folder / "imports.strace"
    modules = [
        module_of(path) for path in sources() if SCRIPTS not in path.as_posix() and path.name != "__main__.py"
    ]
    traced(
        imports,
        sys.executable,
        "-c",
        f"import importlib\nfor name in {modules!r}: importlib.import_module(name)",
    )
    trace, state = post_one(folder)
    local, elsewhere = calls(trace)
    print(
        json.dumps(
            {"local": local, "elsewhere": calls(imports)[1] + elsewhere, "state": state,
             "control": len({call.rsplit(" ", 1)[0] for call in calls(control)[1]}) >= _CONTROL_CALLS}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
