"""A year in one test run: clock changes, days without the daemon, a wall clock that jumps."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from daemon.domain.post import State
from tests.core import Core
from tests.fakes.clock import FakeClock

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")
NEW_YEAR = datetime(2026, 12, 31, 12, 0, tzinfo=UTC)
YEAR = [date(2027, 1, 1) + timedelta(days=number) for number in range(365)]


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Core:
    """Schedule a post for 02:30 on the wall clock of four zones on every day of 2027, and let the year pass."""
    core = Core(tmp_path_factory.mktemp("year"), clock=FakeClock(NEW_YEAR), link=False)
    core.start()
    core.media.put("clip.mp4")
    core.platform.token_seconds = 400 * 86400
    for zone in ZONES:
        core.link(zone.replace("/", "-"), expires_in=400 * 86400)
    for day in YEAR:
        for zone in ZONES:
            args = {
                "account": zone.replace("/", "-"), "media": "clip.mp4", "privacy": "SELF_ONLY",
                "at": f"{day.isoformat()}T02:30:00", "zone": zone,
            }  # fmt: skip
            core.do("post/schedule", args, id=f"{day}:{zone.replace('/', '-')}")
    core.run_until(datetime(2028, 1, 2, tzinfo=UTC))
    yield core
    core.stop()


def _attempts(core: Core) -> list[tuple[str, str, datetime, datetime]]:
    """Return (account, command id, due, started) of every attempt."""
    query = (
        "SELECT p.account, p.command_id, p.due_at, a.started_at FROM post p JOIN attempt a ON a.post = p.id"
    )
    found = core.bus.read(lambda unit: unit._db.exec_driver_sql(query).all())
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        (account, command, epoch + timedelta(microseconds=due), epoch + timedelta(microseconds=started))
        for account, command, due, started in found
    ]


def test_every_post_of_the_year_is_published_once(year: Core) -> None:
    counts = year.bus.read(lambda unit: unit.count_posts())

    assert counts == {"published": len(YEAR) * len(ZONES)}
    assert len(year.platform.published()) == len(YEAR) * len(ZONES)


def test_every_local_date_of_every_zone_has_exactly_one_post(year: Core) -> None:
    seen = Counter(
        (account, due.astimezone(ZoneInfo(account.replace("-", "/"))).date())
        for account, _, due, _ in _attempts(year)
    )

    assert set(seen.values()) == {1}
    assert len(seen) == len(YEAR) * len(ZONES)


def test_no_post_begins_before_its_time_or_later_than_a_second_after_it(year: Core) -> None:
    late = [(started - due).total_seconds() for _, _, due, started in _attempts(year)]

    assert min(late) >= 0
    assert max(late) < 1


def test_a_post_stands_at_half_past_two_except_where_the_clock_has_no_such_time(year: Core) -> None:
    elsewhere = {
        (command, due.astimezone(ZoneInfo(account.replace("-", "/"))).strftime("%H:%M"))
        for account, command, due, _ in _attempts(year)
        if due.astimezone(ZoneInfo(account.replace("-", "/"))).strftime("%H:%M") != "02:30"
    }

    # Lord Howe moves by half an hour, from 02:00 to 02:30: its 02:30 exists.
    assert elsewhere == {("2027-03-28:Europe-Berlin", "03:30"), ("2027-03-14:America-New_York", "03:30")}


DOWN = {"a minute": timedelta(minutes=1), "a day": timedelta(days=1), "a month": timedelta(days=30)}
OUTCOMES = [
    ("post", "a minute", State.PUBLISHED), ("post", "a day", State.PUBLISHED), ("post", "a month", State.PUBLISHED),
    ("hold", "a minute", State.PUBLISHED), ("hold", "a day", State.HELD), ("hold", "a month", State.HELD),
    ("fail", "a minute", State.PUBLISHED), ("fail", "a day", State.FAILED), ("fail", "a month", State.FAILED),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "down", "outcome"), OUTCOMES)
def test_a_daemon_that_was_down_over_the_due_time_obeys_the_policy(
    tmp_path: Path, rule: str, down: str, outcome: State
) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        post = core.scheduled(in_s=30, if_late={"policy": rule, "after_s": 600})
        core.stop(clean=False)

        core.clock.advance(DOWN[down])
        core.start()
        core.run_for(60)

        assert core.post(post).state is outcome


@pytest.mark.parametrize("down", DOWN)
def test_nothing_is_dropped_silently_while_the_daemon_is_down(tmp_path: Path, down: str) -> None:
    with Core(tmp_path, workers=1) as core:
        core.media.put("clip.mp4")
        posts = [core.scheduled(in_s=5 + number, id=f"n{number}") for number in range(5)]
        core.stop(clean=False)

        core.clock.advance(DOWN[down])
        core.start()
        core.run_for(7200)

        told = {event["subject"] for event in core.events("post.published", "post.held", "post.failed")}
        assert told == {f"post/{post}" for post in posts}


def test_a_late_post_says_how_late_it_is_and_what_to_do(tmp_path: Path) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        post = core.scheduled(in_s=30)
        core.stop(clean=False)
        core.clock.advance(timedelta(days=1))
        core.start()
        core.run_for(1)

        held = core.post(post)

    assert held.reason == "late"
    assert "publish_now" in (held.detail or "")


def test_a_held_late_post_goes_out_on_publish_now(tmp_path: Path) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        post = core.scheduled(in_s=30)
        core.stop(clean=False)
        core.clock.advance(timedelta(days=1))
        core.start()
        core.run_for(1)

        core.do("post/publish_now", {"post": post})
        core.run_for(60)

        assert core.post(post).state is State.PUBLISHED


@pytest.mark.parametrize(
    "jump", [timedelta(seconds=1), timedelta(minutes=30), timedelta(hours=2), timedelta(days=40)]
)
def test_a_wall_clock_that_jumps_forward_posts_once_or_holds(tmp_path: Path, jump: timedelta) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        post = core.scheduled(in_s=20)

        core.clock.step(jump)
        core.run_for(60)

        is_late = jump > timedelta(seconds=3600)
        assert core.post(post).state is (State.HELD if is_late else State.PUBLISHED)
        assert core.platform.count("init") == (0 if is_late else 1)


@pytest.mark.parametrize("jump", [timedelta(seconds=1), timedelta(hours=2), timedelta(days=40)])
def test_a_wall_clock_that_jumps_back_fires_nothing_early_and_nothing_twice(
    tmp_path: Path, jump: timedelta
) -> None:
    with Core(tmp_path) as core:
        core.media.put("clip.mp4")
        done = core.scheduled(in_s=10)
        core.run_for(60)
        waiting = core.scheduled(in_s=30)

        core.clock.step(-jump)
        core.run_for(20)
        early = core.post(waiting).state
        core.run_for(jump + timedelta(seconds=60))

        assert early is State.SCHEDULED
        assert core.post(done).state is State.PUBLISHED
        assert core.post(waiting).state is State.PUBLISHED
        assert core.platform.count("init") == 2
