"""After `tokd restore`: whatever may have gone out since the backup is doubted and never posted again by itself."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from daemon.domain.errors import Fault
from daemon.domain.post import IN_HAND, State
from daemon.domain.restored import RESTORED_FLAG, Restored, may_have_gone_out
from daemon.domain.times import iso
from tests.core import Core
from tests.fakes.platform import PENDING, failed
from tests.fakes.values import NOW, a_post

RESTORED = Restored(taken_at=iso(NOW - timedelta(hours=2)), restored_at=iso(NOW), begun=("p_begun",))


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        found.media.put("clip.mp4")
        found.media.put("other.mp4")
        yield found


def restore(core: Core, begun: tuple[str, ...] = (), at: datetime | None = None) -> None:
    """Start again as after a restore."""
    now = core.clock.now()
    mark = Restored(taken_at=iso(now - timedelta(hours=2)), restored_at=iso(at or now), begun=begun)
    core.write(lambda unit: unit.set_flag(RESTORED_FLAG, mark.as_text()))
    core.restart(clean=False)
    core.settle()


@pytest.mark.parametrize("state", [*sorted(IN_HAND), State.PROCESSING, State.UNCERTAIN])
def test_what_was_under_way_is_doubted(state: State) -> None:
    assert may_have_gone_out(a_post(state=state), RESTORED)


@pytest.mark.parametrize("state", [State.SCHEDULED, State.HELD, State.RETRY_WAIT])
def test_what_waits_is_doubted_from_its_time_on(state: State) -> None:
    waiting = a_post(state=state)

    assert may_have_gone_out(replace(waiting, due_at=NOW), RESTORED)
    assert may_have_gone_out(replace(waiting, due_at=None), RESTORED)
    assert not may_have_gone_out(replace(waiting, due_at=NOW + timedelta(seconds=1)), RESTORED)
    assert may_have_gone_out(replace(waiting, id="p_begun", due_at=NOW + timedelta(days=1)), RESTORED)


@pytest.mark.parametrize(
    "state", [State.DRAFT, State.PUBLISHED, State.SENT_TO_INBOX, State.FAILED, State.CANCELLED]
)
def test_what_is_over_or_has_no_time_is_not(state: State) -> None:
    assert not may_have_gone_out(a_post(state=state), RESTORED)


def test_a_post_whose_time_has_passed_comes_back_uncertain_and_is_never_sent(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.clock.advance(timedelta(minutes=30))
    restore(core)

    core.do("system/resume")
    core.run_for(7200)

    found = core.post(post)
    assert (found.state, found.reason) == (State.UNCERTAIN, "restored")
    assert core.attempts(post) == []
    assert core.platform.count("init") == 0


def test_a_later_post_waits_for_resume_and_then_goes_out(core: Core) -> None:
    post = core.scheduled(in_s=600)
    restore(core)

    core.run_for(660)
    assert core.post(post).state is State.HELD
    core.do("system/resume")
    core.run_for(60)

    assert core.post(post).state is State.PUBLISHED


def test_a_later_post_that_the_old_ledger_knew_as_begun_is_doubted(core: Core) -> None:
    post = core.scheduled(in_s=600)

    restore(core, begun=(post,))

    assert core.post(post).state is State.UNCERTAIN


def test_a_refusal_of_the_attempt_that_the_backup_knows_is_not_believed(core: Core) -> None:
    post = core.scheduled(in_s=1)
    core.platform.next("status", PENDING)
    core.run_for(1)
    assert core.post(post).state is State.PROCESSING
    core.platform.next("status", *[failed("internal", Fault.REMOTE_INTERNAL)] * 3)

    restore(core)
    core.run_for(10)

    assert core.post(post).state is State.UNCERTAIN


def test_the_platforms_yes_settles_the_doubt(core: Core) -> None:
    post = core.scheduled(in_s=1)
    core.platform.next("status", PENDING)
    core.run_for(1)

    restore(core)
    core.run_for(60)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("init") == 1


def test_it_happens_once(core: Core) -> None:
    post = core.scheduled(in_s=60)
    core.clock.advance(timedelta(minutes=30))
    restore(core)
    core.do("post/resolve", {"post": post, "outcome": "post_again"}, id="again")
    core.do("system/resume")
    core.run_for(60)
    assert core.post(post).state is State.PUBLISHED

    core.restart()

    assert core.post(post).state is State.PUBLISHED
    assert not core.bus.read(lambda unit: unit.flag(RESTORED_FLAG))


def test_the_tokens_are_tried_before_they_are_needed(core: Core) -> None:
    version = core.account().token_version

    restore(core)

    assert core.platform.count("refresh") == 1
    assert core.account().token_version == version + 1


def test_an_order_from_before_the_restore_is_not_carried_out(core: Core) -> None:
    restore(core)

    old = core.submit("system/pause", is_backlog=True).final()
    core.do("system/resume")
    later = core.submit("system/pause", is_backlog=True).final()

    assert old["error"]["code"] == "stale_backlog"
    assert later["status"] == "done"
