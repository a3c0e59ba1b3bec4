"""What `tokd doctor` finds out."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its verdict, what was seen, and what to do about it."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    text: str
    advice: str = ""


def ok(name: str, text: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(name, "ok", text)


def warn(name: str, text: str, advice: str = "") -> Finding:
    """Return a finding of something that works, and should be looked at."""
    return Finding(name, "warn", text, advice)


def fail(name: str, text: str, advice: str = "") -> Finding:
    """Return a finding of something that does not work."""
    return Finding(name, "fail", text, advice)
