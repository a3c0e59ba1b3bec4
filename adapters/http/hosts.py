"""Under which names tokd may be called: a page that has moved its own name to this machine gets no answer."""

import ipaddress
import re
from collections.abc import Sequence

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


class Hosts:
    """The names that count. Ports do not: whoever gets here has found the right one."""

    def __init__(self, allowed: Sequence[str], bound: str) -> None:
        names = {name.lower() for name in allowed} | _LOOPBACK
        if bound not in {"0.0.0.0", "::"}:  # noqa: S104 - those are no names
            names.add(bound.lower())
        self._names = frozenset(_plain(name) for name in names)

    def knows(self, host: str) -> bool:
        """Tell whether a request with this Host header is meant for us."""
        name = host_name(host)
        return name is not None and name in self._names


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, without port and brackets; None where it is none."""
    found = _HOST.fullmatch(host)
    if found is None:
        return None
    if found[1] is not None:
        try:
            return str(ipaddress.IPv6Address(found[1]))
        except ValueError:
            return None
    return _plain(found[2].lower())


def _plain(name: str) -> str:
    name = name.removesuffix(".")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name
