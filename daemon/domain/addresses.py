"""Addresses as they may be seen and kept: a signed one is a password, and its query is where that stands."""

import json
import re
from typing import Any

_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)


def shown_url(url: str) -> str:
    """Return an address without its query and fragment, which may hold what is nobody's business."""
    return url.partition("#")[0].partition("?")[0]


def quiet(value: Any) -> Any:
    """Return JSON values with each text that is an address as it may be seen. An address within a text stays."""
    match value:
        case str() if _ADDRESS.fullmatch(value):
            return shown_url(value)
        case list():
            return [quiet(item) for item in value]
        case dict():
            return {key: quiet(item) for key, item in value.items()}
    return value


def quiet_json(text: str) -> str:
    """Return the text of a JSON value after `quiet`; one without any such address comes back as it is."""
    if "://" not in text or not ("?" in text or "#" in text):
        return text
    value = json.loads(text)
    shown = quiet(value)
    return text if shown == value else json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
