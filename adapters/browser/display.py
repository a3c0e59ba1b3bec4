"""Is there a screen to open a window on? Asked by connecting; its name is shown nowhere."""

import os
import re
import socket
from collections.abc import Iterator, Mapping

_DISPLAY = re.compile(r"(?P<host>[^:]*):(?P<number>\d{1,5})(?:\.\d+)?")
_WITHIN_S = 0.5
_X_PORT = 6000


def is_reachable(display: str | None, environ: Mapping[str, str]) -> bool:
    """Tell whether the X display (that of `environ` where none is given) or the Wayland one takes a connection."""
    return any(_connects(kind, address) for kind, address in _addresses(display, environ))


def apply(display: str | None, environ: dict[str, str]) -> None:
    """Let a browser started with this environment open its windows there."""
    if display:
        environ["DISPLAY"] = display
        environ.pop("WAYLAND_DISPLAY", None)  # the browser would prefer it


def _addresses(
    display: str | None, environ: Mapping[str, str]
) -> Iterator[tuple[int, str | tuple[str, int]]]:
    found = _DISPLAY.fullmatch(display or environ.get("DISPLAY", ""))
    if found:
        host, number = found["host"], int(found["number"])
        if host in {"", "unix"}:
            yield socket.AF_UNIX, f"/tmp/.X11-unix/X{number}"  # noqa: S108 - where X servers listen
            yield socket.AF_UNIX, f"\0/tmp/.X11-unix/X{number}"
        elif _X_PORT + number < 2**16:
            yield socket.AF_INET, (host, _X_PORT + number)
    wayland = environ.get("WAYLAND_DISPLAY")
    if wayland and not display:
        yield socket.AF_UNIX, os.path.join(environ.get("XDG_RUNTIME_DIR", "/"), wayland)  # noqa: PTH118


def _connects(kind: int, address: str | tuple[str, int]) -> bool:
    try:
        if isinstance(address, tuple):
            socket.create_connection(address, _WITHIN_S).close()
            return True
        with socket.socket(kind, socket.SOCK_STREAM) as sock:
            sock.settimeout(_WITHIN_S)
            sock.connect(address)
            return True
    except OSError:
        return False
