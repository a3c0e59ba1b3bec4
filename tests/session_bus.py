"""A real session bus of its own for a test: with nobody on it, with an owner of a name, or one that would be started."""

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from adapters.profiles.keyring import Bus

DBUS_DAEMON = shutil.which("dbus-daemon") or ""
SECRETS = "org.freedesktop.secrets"

_CONFIG = """<busconfig><type>session</type><listen>{address}</listen><servicedir>{services}</servicedir>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>"""


@contextmanager
def a_bus(folder: Path, *, address: str = "", startable: Sequence[str] = ()) -> Iterator[str]:
    """Run a bus below `folder`; lend its address. `startable` are the names that it could start."""
    services = folder / "services"
    services.mkdir(exist_ok=True)
    for name in startable:
        (services / f"{name}.service").write_text(f"[D-BUS Service]\nName={name}\nExec=/bin/false\n")
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
def owning(where: str, name: str) -> Iterator[None]:
    """Own a name on the bus at this socket."""
    with closing(Bus(where, time.monotonic() + 10)) as bus:
        text = name.encode()
        body = struct.pack("<I", len(text)) + text + b"\0"
        bus.call("RequestName", "su", body + bytes(-len(body) % 4) + struct.pack("<I", 0))
        yield
