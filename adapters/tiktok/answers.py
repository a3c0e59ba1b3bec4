"""Reads TikTok's answers: the envelope of posting calls, and fields that come in several shapes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from adapters.tiktok import errors
from adapters.tiktok.addresses import scrub
from adapters.tiktok.transport import Answer, Call
from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import Plan
from daemon.ports import Clock

_RETRY_AFTER_MAX_S = 900.0  # one header must not stop an account for hours
_PUBLIC_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PROGRESS = re.compile(r"\s*bytes\s+0\s*-\s*(\d{1,15})\s*/\s*(\d{1,15})\s*", re.IGNORECASE)
_BY_STATUS = {401: "access_token_invalid", 429: "rate_limit_exceeded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a call answered: `code` is None where the answer is no envelope at all."""

    code: str | None
    message: str = ""
    log_id: str | None = None
    data: Mapping[str, Any] | None = None


def load_object(body: bytes) -> dict[str, Any] | None:
    """Return a JSON object, or None for anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def open_envelope(body: bytes) -> Envelope:
    """Read `{"data", "error": {"code", "message", "log_id"}}`; data is optional, `logid` counts too (DP)."""
    value = load_object(body) or {}
    error = value.get("error")
    if not isinstance(error, dict) or not isinstance(error.get("code"), str) or not error["code"]:
        return Envelope(code=None)
    data = value.get("data")
    return Envelope(
        code=error["code"],
        message=_text(error.get("message")),
        log_id=scrub(_text(error.get("log_id")) or _text(error.get("logid"))) or None,
        data=data if isinstance(data, dict) else None,
    )


def accept(answer: Answer, call: Call, clock: Clock, *secrets: str) -> Mapping[str, Any]:
    """Return the data of a success.

    Raises PlatformError: the code's own class; 401 and 429 by status where the code is new; and what the call
    says of a lost answer (`server_error`, `redirect_refused`, `bad_answer`) where this one proves nothing.
    """
    envelope = open_envelope(answer.body)
    if envelope.code == "ok" and 200 <= answer.status < 300:  # noqa: PLR2004
        return envelope.data or {}
    code = None if envelope.code == "ok" else envelope.code
    meaning = _judge(code, answer.status, call.lost)
    raise PlatformError(
        meaning.fault,
        meaning.code,
        f"{call.label}: HTTP {answer.status}, {scrub(envelope.message, *secrets) or 'no message'}",
        status=answer.status,
        retry_after_s=retry_after(answer, clock) if meaning.fault is Fault.RATE else None,
        log_id=envelope.log_id,
        advice=meaning.advice,
    )


def _judge(code: str | None, status: int, lost: Fault) -> errors.Meaning:
    known = errors.find(code, errors.api_codes()) if code else None
    if known is not None and known.code != "internal_error":
        return known
    if status in _BY_STATUS:
        return _as(code, _BY_STATUS[status])
    if status >= 500 or known is not None:  # noqa: PLR2004
        return _unproven(code or "server_error", lost)
    if code is not None:
        return errors.unknown(scrub(code)[:64])
    return _unproven("redirect_refused" if 300 <= status < 400 else "bad_answer", lost)  # noqa: PLR2004


def _as(code: str | None, known_as: str) -> errors.Meaning:
    known = errors.find(known_as, errors.api_codes())
    assert known is not None
    return errors.Meaning(scrub(code or known_as)[:64], known.fault, known.advice, known.source)


def _unproven(code: str, lost: Fault) -> errors.Meaning:
    advice = "TikTok's answer cannot be used. If it stays so, check the network and TikTok's status page."
    return errors.Meaning(scrub(code)[:64], lost, advice, errors.FIELD)


def retry_after(answer: Answer, clock: Clock) -> float | None:
    """Return the seconds a Retry-After header asks for, from 0 to 900; None without a usable one."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}", text):
        return min(float(text), _RETRY_AFTER_MAX_S)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if at.tzinfo is None:
        return None
    return min(max((at - clock.now()).total_seconds(), 0.0), _RETRY_AFTER_MAX_S)


def public_ids(value: object) -> tuple[str, ...]:
    """Return post ids as text from whatever stands there: nothing, a number, a text, or a list (ST)."""
    found: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool) or not isinstance(item, (int, str)):
            continue
        text = str(item).strip()
        if text != "0" and _PUBLIC_ID.fullmatch(text) and text not in found:
            found.append(text)
    return tuple(found)


def count(value: object) -> int | None:
    """Return a number that is no less than 0, from a number or digits; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,15}", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def stored_bytes(header: str | None, plan: Plan) -> int | None:
    """Return how many bytes the upload host has, from `bytes 0-N/T`; None where it does not say.

    MT calls N a count, though it looks like the last byte's place: the reading on a chunk's border counts.
    """
    match = _PROGRESS.fullmatch(header or "")
    if match is None or int(match[2]) != plan.size or int(match[1]) > plan.size:
        return None
    told = int(match[1])
    is_last_place = told != plan.size and _is_border(told + 1, plan) and not _is_border(told, plan)
    return told + 1 if is_last_place else told


def _is_border(stored: int, plan: Plan) -> bool:
    inner = stored % plan.chunk_size == 0 and stored <= (plan.count - 1) * plan.chunk_size
    return inner or stored == plan.size


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
