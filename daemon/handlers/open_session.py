"""session/open: write the session down; a worker opens the browser, and answers once that is decided."""

import re
from urllib.parse import urlsplit

from daemon.domain.commands import OpenSession
from daemon.domain.errors import Code, Rejected
from daemon.domain.session import SessionKind
from daemon.domain.work import Browse
from daemon.handlers.browsing import new_session
from daemon.handlers.context import Accepted, Context

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")


def handle(command: OpenSession, context: Context) -> Accepted:
    """Accept the session. Raises Rejected: bad_field, session_limit."""
    policy = context.policy.sessions
    url = command.url or policy.url
    host = host_of(url)
    is_site = command.url is None or policy.is_site(host)
    if command.require_login and not is_site:
        raise Rejected(
            Code.BAD_FIELD, f"require_login needs a page of {', '.join(policy.hosts)}; {host} is another",
            field="args.require_login",
        )  # fmt: skip
    kind = SessionKind.TIKTOK if is_site else SessionKind.PLAIN
    if policy.write_mode:
        kind = SessionKind.LOGIN
    headless = policy.headless if command.headless is None else command.headless
    session = new_session(
        context, kind=kind, profile=command.profile, url=url, headless=headless and kind is not SessionKind.LOGIN,
        timeout_s=command.timeout_seconds or policy.timeout_s,
        require_login=is_site if command.require_login is None else command.require_login,
    )  # fmt: skip
    return Accepted(Browse(0, session.id))


def host_of(url: str) -> str:
    """Return the address's host. Raises Rejected(bad_field) for anything but an http or https address."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    # A browser takes a backslash for a slash, and reads escapes and look-alike letters in a host as others.
    has_odd_letters = any(letter in " \\" or not letter.isprintable() for letter in url)
    if (
        parts is None
        or parts.scheme not in {"http", "https"}
        or not host
        or not _HOST.fullmatch(host)
        or has_odd_letters
    ):
        raise Rejected(
            Code.BAD_FIELD,
            "an address begins with https:// or http:// and names a host in plain letters (xn-- for others), "
            "without a backslash, a space or a letter that cannot be seen",
            field="args.url",
        )
    if parts.username is not None or parts.password is not None:
        raise Rejected(
            Code.BAD_FIELD, "an address must not carry a user name or a password", field="args.url"
        )
    return host
