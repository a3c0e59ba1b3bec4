"""A real session bus of its own for a test: with nobody on it, with an owner of a name, or one that it starts.

As a program: such an owner, which refuses whatever it is asked.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from adapters.profiles.keyring import Bus

DBUS_DAEMON = shutil.which("dbus-daemon") or ""
SECRETS = "org.freedesktop.secrets"

_CONFIG = """<busconfig><type>session</type><listen>{address}</listen><servicedir>{services}</servicedir>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>"""


@contextmanager
def a_bus(
    folder: Path, *, address: str = "", startable: Sequence[str] = (), broken: Sequence[str] = ()
) -> Iterator[str]:
    """Run a bus below `folder`; lend its address. It can start the owners of `startable`, and not those of `broken`."""
    services = folder / "services"
    services.mkdir(exist_ok=True)
    owner = f"/usr/bin/env PYTHONPATH={':'.join(map(os.path.abspath, sys.path))} {sys.executable} -m tests.session_bus"
    for name, command in (dict.fromkeys(startable, owner) | dict.fromkeys(broken, "/bin/false")).items():
        (services / f"{name}.service").write_text(f"[D-BUS Service]\nName={name}\nExec={command} {name}\n")
    config = folder / "bus.conf"
    config.write_text(_CONFIG.format(address=address or f"unix:path={folder}/bus", services=services))
    bus = subprocess.Popen(
        [DBUS_DAEMON, f"--config-file={config}", "--nofork", "--print-address=1"], stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert bus.stdout is not None
        yield bus.stdout.readline().strip()
    finally:
        bus.kill()
        bus.communicate()


@contextmanager
def owning(where: str, name: str) -> Iterator[Bus]:
    """Own a name on the bus at this socket."""
    with closing(Bus(where, time.monotonic() + 30)) as bus:
        text = name.encode()
        body = struct.pack("<I", len(text)) + text + b"\0"
        bus.call("RequestName", "su", body + bytes(-len(body) % 4) + struct.pack("<I", 0))
        yield bus


_ASKED, _FAILED = 1, 3
_SENDER = re.compile(rb":1\.\d+")


def _refuse(bus: Bus) -> None:
    """Answer one message, if it asks for something."""
    head = bus._exactly(16)
    size, serial, fields = struct.unpack_from("<III", head, 4)
    rest = bus._exactly(fields + -fields % 8 + size)
    if head[1] != _ASKED or (sender := _SENDER.search(rest)) is None:
        return
    name, to = b"org.example.No", sender[0]
    told = struct.pack("<BBBBI", 5, 1, ord("u"), 0, serial)
    for code, text in ((4, name), (6, to)):
        told += bytes(-len(told) % 8) + struct.pack("<BBBBI", code, 1, ord("s"), 0, len(text)) + text + b"\0"
    whole = struct.pack("<cBBBIII", b"l", _FAILED, 0, 1, 0, 1000 + serial, len(told)) + told
    bus._socket.sendall(whole + bytes(-len(whole) % 8))


def main() -> None:
    """Own a name until the bus ends, half a minute at most."""
    where = os.environ["DBUS_STARTER_ADDRESS"].partition(",guid=")[0].partition("=")
    path = unquote(where[2])
    with (
        owning(("\0" if where[0].endswith("abstract") else "") + path, sys.argv[1]) as bus,
        suppress(OSError),
    ):
        while True:
            _refuse(bus)


if __name__ == "__main__":
    main()
