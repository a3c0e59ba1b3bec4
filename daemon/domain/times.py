"""Instants and zones: a time is a UTC instant plus an IANA zone; a time without either is refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from daemon.domain.errors import Code, Rejected

NOW_WORD = "now"
NO_ZONE = "UTC"  # of a post that was given none
YEAR_END = 9999


def iso(instant: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def zone_of(name: str, field: str = "args.zone") -> ZoneInfo:
    """Return the IANA zone. Raises Rejected(bad_field) for a name that the zone database does not know."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise Rejected(
            Code.BAD_FIELD,
            f"{name!r} is not an IANA time zone; write for example Europe/Berlin",
            field=field,
        ) from error


def parse_time(text: str, zone: str | None, now: datetime, field: str = "args.at") -> datetime:
    """Return the UTC instant of an RFC 3339 time with offset, of a local time with a zone, or of `now`.

    A local time in the hour that a clock change repeats is the first of the two; one in the hour that it
    leaves out moves forward by the gap, as a wall clock does. Raises Rejected(bad_time).
    """
    if text == NOW_WORD:
        return now
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejected(
            Code.BAD_TIME, f"{text!r} is not an RFC 3339 time such as 2026-12-01T09:00:00+01:00", field=field
        ) from error
    if value.tzinfo is None:
        if zone is None:
            raise Rejected(
                Code.BAD_TIME,
                f"{text!r} has no offset: add one (…+01:00 or …Z), or name an IANA zone in args.zone",
                field=field,
            )
        value = value.replace(tzinfo=zone_of(zone), fold=0)
    try:
        instant = value.astimezone(UTC)
    except OverflowError as error:
        raise Rejected(Code.BAD_TIME, f"{text!r} is out of range", field=field) from error
    if instant.year >= YEAR_END:  # it must still have a wall clock in every zone
        raise Rejected(Code.BAD_TIME, f"{text!r} is out of range", field=field)
    return instant


def parse_future(
    text: str, zone: str | None, now: datetime, grace: timedelta, field: str = "args.at"
) -> datetime:
    """Return the instant as parse_time does. Raises Rejected(bad_time) where it lies in the past by more than `grace`."""
    instant = parse_time(text, zone, now, field)
    if instant < now - grace:
        raise Rejected(
            Code.BAD_TIME,
            f'{iso(instant)} is in the past (it is {iso(now)}); to post at once, send "at": "now"',
            field=field,
        )
    return instant
