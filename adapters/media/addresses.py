"""Which addresses a platform may be pointed at. Those that tokd itself may fetch: hosts.py."""

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from daemon.domain.errors import Code, Problem, Rejected

_PORTS = {"https": 443, "http": 80}
_PLAIN = re.compile(r"[\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_MOST_ENCODINGS = 5


def check_address(url: str, prefixes: Sequence[str], field: str) -> None:
    """Raise Rejected(media_rejected) unless the address is plain and stands under one of the prefixes."""
    if not _PLAIN.fullmatch(url) or "\\" in url:  # urlsplit would drop tabs and line ends without a word
        raise _refused(
            field, "url_characters", "has characters that an address cannot have", "percent-encode them"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(field, "url_malformed", f"is no address: {error}") from error
    if parts.username is not None or "@" in parts.netloc:
        raise _refused(field, "url_user", "must not name a user or a password")
    if "#" in url:
        raise _refused(field, "url_fragment", "must not have a fragment (#…)")
    if _has_dots(parts.path):
        raise _refused(
            field, "url_dots", "must not have dot segments or encoded control characters in its path"
        )
    if not any(_is_under(parts, port, prefix) for prefix in prefixes):
        raise _refuse_prefix(parts, prefixes, field)


def _has_dots(path: str) -> bool:
    """Tell whether a reader who decodes the path, even twice, could see `.`, `..` or a control character."""
    for _ in range(_MOST_ENCODINGS):
        decoded = unquote(path)
        if decoded == path:
            break
        path = decoded
    else:
        return True
    segments = re.split(r"[/\\]", path)
    return bool(_CONTROL.search(path)) or any(each.split(";")[0] in {".", ".."} for each in segments)


def _is_under(url: SplitResult, port: int | None, prefix: str) -> bool:
    try:
        wanted = urlsplit(prefix)
        wanted_port = wanted.port or _PORTS.get(wanted.scheme)
    except ValueError:
        return False
    host = wanted.hostname or ""
    is_loopback = _is_loopback(host)
    if wanted.scheme != "https" and not (wanted.scheme == "http" and is_loopback):
        return False
    if not host or (_is_number(host) and not is_loopback):
        return False
    folder = (
        wanted.path if wanted.path.endswith("/") else f"{wanted.path}/"
    )  # /v must not let /v-evil through
    return (
        url.scheme == wanted.scheme
        and url.hostname == host
        and (port or _PORTS.get(url.scheme)) == wanted_port
        and url.path.startswith(folder)
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(host: str) -> bool:
    """Tell whether the host is an IP address, in any spelling that resolvers take (2130706433, 0x7f.1)."""
    return ":" in host or bool(_NUMBER.fullmatch(host.rstrip(".").rsplit(".", 1)[-1]))


def _refuse_prefix(parts: SplitResult, prefixes: Sequence[str], field: str) -> Rejected:
    if parts.scheme != "https" and not any(prefix.startswith("http://") for prefix in prefixes):
        return _refused(field, "url_scheme", "must begin with https://")
    known = ", ".join(prefixes) or "none is configured"
    # The host only: the query of an address may be its password.
    return _refused(
        field,
        "url_prefix",
        f"on host {parts.hostname or '?'} is not under a verified prefix ({known})",
        "verify the prefix with the platform, then add it to media.verified_prefixes in the configuration, "
        'for example ["https://cdn.example.com/v/"]',
    )


def _refused(field: str, problem: str, message: str, hint: str = "") -> Rejected:
    text = f"the address {message}"
    advice = hint or "see media.verified_prefixes in the configuration"
    return Rejected(Code.MEDIA_REJECTED, text, field=field, problems=(Problem(problem, text, advice),))
