"""Times: an offset or a zone makes an instant, a clock change has one answer, nothing naive gets through."""

from datetime import UTC, datetime, timedelta

import pytest

from daemon.domain.errors import Code, Rejected
from daemon.domain.times import iso, parse_future, parse_time, zone_of

NOW = datetime(2026, 10, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-12-01T09:00:00Z", "2026-12-01T09:00:00.000Z", id="zulu"),
        pytest.param("2026-12-01T09:00:00+01:00", "2026-12-01T08:00:00.000Z", id="east"),
        pytest.param("2026-12-01T09:00:00-05:00", "2026-12-01T14:00:00.000Z", id="west"),
        pytest.param("2026-12-01T09:00:00+05:30", "2026-12-01T03:30:00.000Z", id="half an hour"),
        pytest.param("2026-12-01T09:00:00.250+00:00", "2026-12-01T09:00:00.250Z", id="milliseconds"),
        pytest.param("2026-12-01T09:00+01:00", "2026-12-01T08:00:00.000Z", id="without seconds"),
    ],
)
def test_a_time_with_an_offset_is_that_instant(text: str, expected: str) -> None:
    assert iso(parse_time(text, None, NOW)) == expected


def test_the_offset_goes_before_the_zone() -> None:
    instant = parse_time("2026-12-01T09:00:00+01:00", "America/New_York", NOW)

    assert iso(instant) == "2026-12-01T08:00:00.000Z"


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        pytest.param("Europe/Berlin", "2026-12-01T08:00:00.000Z", id="Berlin"),
        pytest.param("America/New_York", "2026-12-01T14:00:00.000Z", id="New York"),
        pytest.param("Asia/Kolkata", "2026-12-01T03:30:00.000Z", id="Kolkata"),
        pytest.param("Australia/Lord_Howe", "2026-11-30T22:00:00.000Z", id="Lord Howe"),
    ],
)
def test_a_local_time_is_taken_in_its_zone(zone: str, expected: str) -> None:
    assert iso(parse_time("2026-12-01T09:00:00", zone, NOW)) == expected


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        pytest.param("Europe/Berlin", "2027-03-28T02:30:00", "2027-03-28T01:30:00.000Z", id="Berlin, 03:30"),
        pytest.param(
            "America/New_York", "2027-03-14T02:30:00", "2027-03-14T07:30:00.000Z", id="New York, 03:30"
        ),
        pytest.param(
            "Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:45:00.000Z", id="Lord Howe, 02:45"
        ),
        pytest.param(
            "America/Santiago", "2026-09-06T00:30:00", "2026-09-06T04:30:00.000Z", id="Santiago, 01:30"
        ),
    ],
)
def test_a_time_that_the_clock_change_leaves_out_moves_forward(zone: str, text: str, expected: str) -> None:
    assert iso(parse_time(text, zone, NOW)) == expected


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        pytest.param("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00.000Z", id="Berlin"),
        pytest.param("America/New_York", "2026-11-01T01:30:00", "2026-11-01T05:30:00.000Z", id="New York"),
        pytest.param(
            "Australia/Lord_Howe", "2027-04-04T01:45:00", "2027-04-03T14:45:00.000Z", id="Lord Howe"
        ),
        pytest.param("America/Santiago", "2027-04-03T23:30:00", "2027-04-04T02:30:00.000Z", id="Santiago"),
    ],
)
def test_a_time_that_the_clock_change_repeats_is_the_first_of_the_two(
    zone: str, text: str, expected: str
) -> None:
    assert iso(parse_time(text, zone, NOW)) == expected


def test_now_is_the_instant_that_was_passed_in() -> None:
    assert parse_time("now", None, NOW) == NOW


def test_a_time_without_offset_and_zone_is_refused() -> None:
    with pytest.raises(Rejected, match="has no offset") as caught:
        parse_time("2026-12-01T09:00:00", None, NOW)

    assert caught.value.code is Code.BAD_TIME
    assert caught.value.field == "args.at"


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "18:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "1790000000"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse_time(text, "Europe/Berlin", NOW)

    assert caught.value.code is Code.BAD_TIME


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        pytest.param("0001-01-01T00:00:00", "Asia/Kolkata", id="before the first year"),
        pytest.param("9999-12-31T23:59:59", "America/New_York", id="after the last year"),
        pytest.param("9999-12-31T23:59:59-12:00", None, id="after the last year, with an offset"),
    ],
)
def test_an_instant_that_no_calendar_has_is_refused(text: str, zone: str | None) -> None:
    with pytest.raises(Rejected) as caught:
        parse_time(text, zone, NOW)

    assert caught.value.code is Code.BAD_TIME


@pytest.mark.parametrize(
    "zone", ["", "Europe", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "a\0b", "\ud800", "x" * 5000]
)
def test_a_zone_that_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(Rejected) as caught:
        zone_of(zone)

    assert caught.value.code is Code.BAD_FIELD
    assert caught.value.field == "args.zone"


def test_a_time_in_the_past_is_refused_with_the_way_to_post_at_once() -> None:
    with pytest.raises(Rejected, match='"at": "now"') as caught:
        parse_future("2026-10-01T11:58:59Z", None, NOW, timedelta(minutes=1))

    assert caught.value.code is Code.BAD_TIME


def test_a_time_in_the_past_within_the_grace_is_taken() -> None:
    instant = parse_future("2026-10-01T11:59:00Z", None, NOW, timedelta(minutes=1))

    assert instant == NOW - timedelta(minutes=1)


def test_an_instant_is_written_in_utc_with_milliseconds() -> None:
    berlin = datetime(2026, 7, 1, 14, 0, 0, 123_999, tzinfo=zone_of("Europe/Berlin"))

    assert iso(berlin) == "2026-07-01T12:00:00.123Z"
