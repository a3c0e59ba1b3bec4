"""Which addresses tokd itself may fetch: https, a host of the list, and nothing in disguise."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from daemon.domain.errors import Code, Problem, Rejected

HTTPS_PORT = 443
_PLAIN = re.compile(r"[\x21-\x7e]+")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LONGEST_HOST = 253
_LONGEST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Target:
    """One address that may be fetched. `path` carries the query, which may be a password: show `shown` only."""

    host: str
    port: int
    path: str
    is_private: bool

    @property
    def shown(self) -> str:
        """Return what may stand in messages: the host and the path's last part."""
        folder, _, last = self.path.partition("?")[0].rpartition("/")
        name = last if len(last) <= _LONGEST_SHOWN else f"{last[:_LONGEST_SHOWN]}…"
        return f"{self.host}/{'…/' if folder else ''}{name}"


class Hosts:
    """The hosts of the configuration: public ones with all below them, private ones exactly, with their port."""

    def __init__(self, allowed: tuple[str, ...] = (), private: tuple[str, ...] = ()) -> None:
        self._allowed = tuple(name.lower() for name in allowed)
        pairs = (text.lower().rpartition(":") for text in private)
        self._private = {
            (host, int(port)) if colon else (port, HTTPS_PORT) for host, colon, port in pairs
        }  # fmt: skip

    def know(self, url: str) -> bool:
        """Tell whether the address names one of these hosts; whether all of it is well is `target`'s question."""
        parts, host = _split(url)
        if parts is None or host is None:
            return False
        return self._is_allowed(host) or any(host == name for name, _ in self._private)

    def target(self, url: str, field: str) -> Target:
        """Return what to connect to. Raises Rejected(media_rejected) and says which rule is broken."""
        parts, host = _split(url)
        if parts is None:
            raise refused(field, "url_malformed", "is no address", "percent-encode what is no plain letter")
        if parts.scheme != "https":
            raise refused(field, "url_scheme", "must begin with https://")
        if parts.username is not None or "@" in parts.netloc:
            raise refused(field, "url_user", "must not name a user or a password")
        if "#" in url:
            raise refused(field, "url_fragment", "must not have a fragment (#…)")
        port = parts.port or HTTPS_PORT
        is_private = (host, port) in self._private
        if host is None or not (is_private or self._is_allowed(host)):
            raise self.unknown(url, field)
        if port != HTTPS_PORT and not is_private:
            raise refused(
                field, "url_port", "must not name a port", "media.private_hosts takes a host with its port"
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(host, port, path, is_private)

    def unknown(self, url: str, field: str, prefixes: tuple[str, ...] = ()) -> Rejected:
        """Return the refusal of a host that is not in the lists, with what is."""
        parts, host = _split(url)
        name = host or (parts.hostname if parts else None) or "?"
        known = ", ".join((*self._allowed, *sorted(found for found, _ in self._private))) or "none"
        return refused(
            field,
            "url_host",
            f"on host {name[:_LONGEST_HOST]!r} is not allowed: media may come from {known}"
            + (f", and from below {', '.join(prefixes)}" if prefixes else ""),
            "add the host to media.allowed_hosts, or its prefix, verified with TikTok, to media.verified_prefixes",
        )

    def _is_allowed(self, host: str) -> bool:
        return not is_number(host) and any(
            host == name or host.endswith(f".{name}") for name in self._allowed
        )


def is_number(host: str) -> bool:
    """Tell whether the host is an IP address in any spelling that resolvers take (2130706433, 0x7f.1)."""
    return ":" in host or bool(_NUMBER.fullmatch(host.rpartition(".")[2]))


def refused(
    field: str, problem: str, message: str, hint: str = "", *, retryable: bool = False, code: Code = Code.MEDIA_REJECTED
) -> Rejected:  # fmt: skip
    """Return the refusal of an address. No message may carry its query."""
    text = f"the address {message}"
    advice = hint or "see media.allowed_hosts in the configuration"
    return Rejected(code, text, field=field, retryable=retryable, problems=(Problem(problem, text, advice),))


def _split(url: str) -> tuple[SplitResult | None, str | None]:
    """Return the address's parts and its host as it goes over the wire; None for what is no address, or no host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None, None
    rest = url.replace(parts.netloc, "", 1)
    if port == 0 or "\\" in url or re.search(r"[\s\x00-\x20\x7f]", url) or not _PLAIN.fullmatch(rest):
        return None, None  # urlsplit drops tabs and line ends without a word
    return parts, _wire_host(parts.hostname or "")


def _wire_host(host: str) -> str | None:
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    is_name = len(name) <= _LONGEST_HOST and all(_LABEL.fullmatch(label) for label in name.split("."))
    return name if is_name else None
