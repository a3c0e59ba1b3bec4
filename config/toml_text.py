"""TOML as text: on which line a key stands, and how a value is written. Reading is tomllib's."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

MASK = "**********"

_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)


def line_numbers(text: str) -> dict[str, int]:
    """Return the line of every table and key by dotted name. A simple scan, to point at a line."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _plain(header.group(1))
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            name = _plain(key.group(1))
            lines.setdefault(f"{table}.{name}" if table else name, number)
    return lines


def find_line(lines: Mapping[str, int], name: str) -> int | None:
    """Return the line of `name`, or of the nearest table around it."""
    while name:
        if name in lines:
            return lines[name]
        name = name.rpartition(".")[0]
    return None


def toml_value(value: object) -> str:
    """Write `value` in TOML; a secret becomes a mask. Raises TypeError for what no setting holds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, SecretStr):
        return toml_value(MASK)
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    raise TypeError(f"no setting holds a {type(value).__name__}")


def _plain(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))
