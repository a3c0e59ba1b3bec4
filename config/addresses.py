"""Checks of addresses and host names: https everywhere, plain http towards the own machine only."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_LONGEST_HOST = 253
_LONGEST_REDIRECT = 511  # TikTok: "less than 512 characters"


def is_loopback(host: str) -> bool:
    """Tell whether `host` is the own machine: 127.0.0.0/8, ::1 or localhost. Asks no resolver."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(url: str) -> str:
    """Return `url`, or raise ValueError: https (http towards loopback), a host, no user name, no query.

    The messages never repeat the address, which may carry a password by mistake.
    """
    parts = _split(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password")
    if not parts.hostname:
        raise ValueError("must name a host, like https://example.com")
    check_host(parts.hostname)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https: plain http is for this machine only (127.0.0.1, ::1, localhost)")
    if "?" in url or "#" in url:
        raise ValueError("must not contain a query or a fragment")
    return url


def check_redirect(url: str) -> str:
    """Return `url` if TikTok could accept it as a redirect address, or raise ValueError."""
    check_address(url)
    if len(url) > _LONGEST_REDIRECT:
        raise ValueError("must be shorter than 512 characters")
    parts = urlsplit(url)
    if parts.scheme == "http" and (parts.hostname not in {"localhost", "127.0.0.1"} or parts.port is None):
        raise ValueError("must name a port and localhost or 127.0.0.1, like http://127.0.0.1:8765/callback/")
    return url


def check_prefix(url: str) -> str:
    """Return `url` if it can be compared as a string prefix without matching a foreign host."""
    if not check_address(url).endswith("/"):
        raise ValueError('must end with "/", or it would also match hosts and folders of other people')
    return url


def check_host(host: str) -> str:
    """Return `host` if it is a host name or an IP address without port, or raise ValueError."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        if len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
            message = "must be a host name or IP address, without scheme, port or path"
            raise ValueError(message) from None
    return host


def check_host_pattern(pattern: str) -> str:
    """Return `pattern`: a host in which `*` may stand for one whole label, never for the last two."""
    labels = pattern.split(".")
    if "*" in labels[-2:]:
        raise ValueError('"*" must not stand for one of the last two parts of a host name')
    check_host(".".join("x" if label == "*" else label for label in labels))
    return pattern


def matches_host(pattern: str, host: str) -> bool:
    """Tell whether `host` fits `pattern`, in which `*` stands for exactly one label; case does not count."""
    wanted, given = pattern.lower().split("."), host.lower().split(".")
    return len(wanted) == len(given) and all(
        want == have or (want == "*" and have != "") for want, have in zip(wanted, given, strict=True)
    )


def _split(url: str) -> SplitResult:
    if "\\" in url or any(character <= " " or character == "\x7f" for character in url):
        raise ValueError("must not contain spaces, backslashes or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not an address: check the brackets and the port") from None
    if parts.scheme not in {"http", "https"}:
        raise ValueError("must begin with https://")
    if port == 0:
        raise ValueError("must not use port 0")
    return parts
