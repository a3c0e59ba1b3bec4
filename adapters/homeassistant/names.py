"""Names as Home Assistant takes them."""

import hashlib
import re

_PLAIN = re.compile(r"[A-Za-z0-9-]+")
_OTHER = re.compile(r"[^A-Za-z0-9-]")


def slug(name: str) -> str:
    """Return the name in letters, digits and `-`. Two names never give the same: a changed one carries a digest.

    `_` is left out as well: it stands between the parts of an id, which could not be told apart otherwise.
    """
    if _PLAIN.fullmatch(name):
        return name
    return f"{_OTHER.sub('-', name)}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def device_id(node: str, account: str | None = None) -> str:
    """Return a device's id, fit for a topic: `tokd_main`, `tokd_main_shop`."""
    parts = ["tokd", slug(node)] if account is None else ["tokd", slug(node), slug(account)]
    return "_".join(parts)


def entity_id(platform: str, owner: str, key: str) -> str:
    """Return the entity id that is proposed, with its domain."""
    name = re.sub(r"[^a-z0-9]+", "_", owner.lower()).strip("_")
    return f"{platform}.tokd_{name}_{key}"
