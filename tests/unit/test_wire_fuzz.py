"""Scorecard S3: whatever bytes come, each gets one answer, and nothing dies. `make fuzz` sends many more."""

import json
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daemon.domain.commands import VERBS
from daemon.domain.session import BrowserEnded, EndReason
from daemon.domain.wire import read_request
from tests.core import Call, Core

CASES = int(os.environ.get("TOKD_FUZZ_CASES", "5000"))
SEED = int(os.environ.get("TOKD_FUZZ_SEED", "20261121"))
NOW = datetime(2026, 11, 21, tzinfo=UTC)
SEEDS = (
    b"", b"{}", b"null", b"[]", b'"x"', b"1", b'{"id": "a-1"}',
    b'{"id": "n8n-8841-1", "args": {"account": "ada", "media": "clip.mp4", "at": "now", "privacy": "SELF_ONLY"}}',
    b'{"args": {"post": "p_7Q2"}, "expires_at": "2026-12-01T09:00:00+01:00", "dry_run": true}',
    b'{"args": {"account": "ada", "at": "2026-12-01T09:00:00+01:00", "hashtags": ["a", "b"], "cover_ms": 1}}',
    b'{"id": "x", "ttl_s": 60, "reply_to": "tokd/v1/main/reply/me/x", "args": {"limit": 5, "after": 0}}',
    json.dumps({"args": {"task": "t_1", "output_data": {"video_url": "https://x.supabase.co/v.mp4"}}}).encode(),
)  # fmt: skip
SPICES = (
    b"NaN", b"Infinity", b"-0", b"1e999", b"9" * 400, b"[" * 50, b'{"a":' * 30, b"\x00", b"\xff\xfe", b"\xed\xa0\x80",
    b"\\ud800", b"\\u0000", b'"id":"a","id":"b"', b"\xef\xbb\xbf", b"//", b"'", b",,", b"true", b'{"$ref":1}', b"\r\n",
    b'"__proto__":{}', b"2026-02-30T25:61:61Z", b"\xf0\x9f\x98\x80" * 10, b'"args":{"args":{}}',
)  # fmt: skip


def inputs(count: int) -> Iterator[tuple[str, str, bytes]]:
    """Return actors, verbs and bytes: seeds, cut, doubled, turned and spiced; the same for the same seed."""
    dice = random.Random(SEED)
    verbs = [*VERBS, "no/such", "post", "post/schedule/x", "\u202e/x", "a" * 300, ""]
    actors = ["me", "http:ann", "a" * 300, "\x1b[31m", "_self"]
    for _ in range(count):
        raw = bytearray(dice.choice(SEEDS))
        for _ in range(dice.randrange(4)):
            at = dice.randrange(len(raw) + 1)
            match dice.randrange(5):
                case 0:
                    raw[at:at] = dice.choice(SPICES)
                case 1:
                    del raw[at : at + dice.randrange(1, 9)]
                case 2:
                    raw[at:at] = raw[: dice.randrange(len(raw) + 1)]
                case 3:
                    raw[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 5)))
                case 4 if at < len(raw):
                    raw[at] ^= 1 << dice.randrange(8)
        yield dice.choice(actors), dice.choice(verbs), bytes(raw)


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        yield found


def test_every_input_gets_one_answer_and_the_core_lives_on(core: Core) -> None:
    # of a hundred thousand some open a window and are answered when it is closed: here at once
    core.browser.script.append(BrowserEnded(reason=EndReason.CLOSED_BY_USER))
    finals: list[dict[str, Any]] = []
    waiting: list[Call] = []
    for number, (actor, verb, raw) in enumerate(inputs(CASES), start=1):
        call = Call()
        request, _ = read_request(
            actor=actor, verb=verb, raw=raw, transport="test", received_at=NOW, settle=call._settle, answer=call._answer,
        )  # fmt: skip
        core.bus.submit(request)
        waiting.append(call)
        if number % 1000 == 0 or number == CASES:  # what a window tells comes behind all that waits already
            finals += [call.final() for call in waiting]
            waiting.clear()

    assert len(finals) == CASES, f"seed {SEED}"
    assert not core.deaths.found, f"seed {SEED}"
    assert [reply for reply in finals if (reply.get("error") or {}).get("code") == "internal"] == [], (
        f"seed {SEED}"
    )
    assert core.do("system/ping")["protocol"]
