"""Which addresses bytes may be sent to, and how text is made safe to show."""

import ipaddress
import re
from urllib.parse import urlsplit

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_QUERY = re.compile(r"(https?://[^\s?#\"']+)[?#][^\s\"']*", re.IGNORECASE)
_TOKEN = re.compile(
    r"\b(?:act|rft|clt)\.[^\s\"',;&]+|\bBearer\s+[^\s\"',;&]+|\bupload_token\W{1,4}[^\s\"',;&]+",
    re.IGNORECASE,
)
_LONGEST = 300  # letters of foreign text kept in a message


def is_loopback(host: str | None) -> bool:
    """Tell whether a host name or address literal is this machine. Looks nothing up."""
    if not host:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def may_upload_to(url: str, allowed: tuple[str, ...], api_base: str) -> bool:
    """Tell whether media may be sent to `url`: https, a known host, the usual port, no user part.

    A loopback address is taken only where the API itself is on loopback (the simulator).
    """
    if not url.isascii() or not url.isprintable() or any(letter in url for letter in ' \\"<>'):
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    if is_loopback(host):
        return parts.scheme in {"http", "https"} and is_loopback(urlsplit(api_base).hostname)
    is_known = any(_matches(host, pattern) for pattern in allowed)
    return parts.scheme == "https" and port in {None, 443} and is_known


def _matches(host: str, pattern: str) -> bool:
    # `*` stands for exactly one label, so that upload.*.tiktokapis.com cannot be a host of somebody else.
    labels, wanted = host.split("."), pattern.lower().split(".")
    pairs = zip(labels, wanted, strict=False)
    return (
        _HOST.fullmatch(host) is not None
        and len(labels) == len(wanted)
        and all(want in (label, "*") and label for label, want in pairs)
    )


def scrub(text: str, *secrets: str) -> str:
    """Return foreign text fit for a message: one line, short, without tokens and without URL queries."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[secret]")
    text = _TOKEN.sub("[secret]", _QUERY.sub(r"\1", text))
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_LONGEST]
