"""Times as people type them."""

from datetime import UTC, datetime

import pytest

from daemon.cli.times import read_at

NOW = datetime(2026, 3, 29, 0, 59, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("+5s", "2026-03-29T00:59:35.000Z"),
        ("+10m", "2026-03-29T01:09:30.000Z"),
        ("+2h", "2026-03-29T02:59:30.000Z"),
        ("+1h30m", "2026-03-29T02:29:30.000Z"),
        ("+3d", "2026-04-01T00:59:30.000Z"),
        ("+1w", "2026-04-05T00:59:30.000Z"),
        (" +0s ", "2026-03-29T00:59:30.000Z"),
    ],
)
def test_a_time_from_now_becomes_an_instant_in_utc(text: str, instant: str) -> None:
    assert read_at(text, NOW) == instant


@pytest.mark.parametrize("text", ["now", "2026-12-01T18:00:00+01:00", "2026-12-01T18:00", "tomorrow"])
def test_every_other_time_is_the_daemons_to_read(text: str) -> None:
    assert read_at(text, NOW) == text


@pytest.mark.parametrize("text", ["+", "+5", "+5y", "+-5s", "+1.5h", "+5 m", "+99999w", "+\uff15s"])
def test_what_only_looks_like_a_time_from_now_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from now"):
        read_at(text, NOW)
