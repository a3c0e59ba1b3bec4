"""What fails again and again is not tried in circles: accounts that cannot be read, and workers that die."""

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import update

from adapters.storage.statements import ACCOUNT, POST
from daemon.domain.ids import AccountName
from daemon.domain.policy import Policy
from daemon.domain.post import IN_HAND, MOVES, State, Trigger
from daemon.domain.reports import StatesTouched
from daemon.domain.verdicts import HOLD_CRASHES, HOLD_UNREADABLE, recover_later
from tests.core import POLICY, Core
from tests.fakes.values import NOW, a_post, an_address_post, an_attempt

FIRST, SECOND = POLICY.retry_delays_s[:2]
BROKEN = '{"username": '


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path, has_broker=True) as found:
        found.media.put("clip.mp4")
        yield found


def harm(core: Core, creator: str | None) -> None:
    """Write into the account's row what no tokd writes, or what mends it again."""
    core.write(lambda unit: unit._db.execute(update(ACCOUNT).values(creator=creator)))


# -- an account that cannot be read --------------------------------------------------------------------------


def test_a_post_whose_account_row_cannot_be_decoded_is_not_claimed_in_circles(core: Core) -> None:
    post = core.scheduled(in_s=1)
    harm(core, BROKEN)

    core.run_for(1800)

    found = core.post(post)
    assert (found.state, found.reason, found.fence) == (State.HELD, HOLD_UNREADABLE, 1)
    assert found.version < 15
    [told] = core.events("post.held")
    assert "account ada cannot be read" in told["data"]["detail"]
    assert "tokd db check" in told["data"]["detail"]
    harm(core, None)


def test_a_post_goes_on_by_itself_when_the_row_of_its_account_can_be_read_again(core: Core) -> None:
    post = core.scheduled(in_s=1)
    harm(core, BROKEN)
    core.run_for(100)

    harm(core, None)
    core.run_for(900)

    assert core.post(post).state is State.PUBLISHED
    assert len(core.events("post.held")) == len(core.events("post.released")) == 1


def test_a_post_whose_tokens_no_key_opens_waits_with_growing_delays(core: Core) -> None:
    post = core.scheduled(in_s=1)
    core.vault.lose_key()
    core.run_for(1)

    waits = []
    for _ in range(7):
        assert core.timer.at is not None
        waits.append((core.timer.at - core.clock.now()).total_seconds())
        core.run_until(core.timer.at)

    assert waits == [5, 20, 60, 300, 900, 900, 900]
    assert (core.post(post).state, core.post(post).reason) == (State.HELD, HOLD_UNREADABLE)
    assert core.post(post).fence == 1
    [told] = core.events("post.held")
    assert "tokd account link ada" in told["data"]["detail"]


def test_a_key_that_is_brought_back_lets_the_posts_go_on(core: Core) -> None:
    posts = [core.scheduled(in_s=1) for _ in range(3)]
    core.vault.lose_key()
    core.run_for(10)
    assert {core.post(post).state for post in posts} == {State.HELD}

    core.vault.bring_back_key()
    core.run_for(200)

    assert {core.post(post).state for post in posts} == {State.PUBLISHED}
    assert len(core.events("post.held")) == 3


def test_linking_the_account_anew_lets_its_posts_go_on_at_once(core: Core) -> None:
    post = core.scheduled(in_s=1)
    core.vault.lose_key()
    core.run_for(200)

    core.link()
    core.run_for(30)

    assert core.post(post).state is State.PUBLISHED


def test_a_refresh_token_that_no_key_opens_gives_its_turn_back(core: Core) -> None:
    core.platform.token_seconds = 60
    core.clock.advance(timedelta(days=2))
    core.vault.lose_key()

    core.sweep()

    assert core.account().refresh_until is None


def test_an_account_that_cannot_be_read_stops_no_other_and_is_named_by_health(core: Core) -> None:
    core.link("bob")
    post = core.scheduled(account="bob", in_s=1)
    core.scheduled(in_s=1)
    core.write(
        lambda unit: unit._db.execute(update(ACCOUNT).where(ACCOUNT.c.name == "ada").values(creator=BROKEN))
    )

    core.run_for(60)
    core.bus.ask(StatesTouched(frozenset({AccountName("ada"), AccountName("bob")}), daemon=True))
    core.sweep()

    assert core.post(post).state is State.PUBLISHED
    [told] = [json.loads(text) for path, text in core.kept[-3:] if path == "account/bob"]
    assert told["last_result"]["post"] == post
    assert (
        "account ada cannot be read; `tokd db check` says more" in core.do("system/health", id="")["degraded"]
    )
    assert [found["account"] for found in core.do("account/list", id="")["accounts"]] == ["bob"]
    harm(core, None)


def test_a_post_that_cannot_be_read_stops_no_other(core: Core, caplog: pytest.LogCaptureFixture) -> None:
    core.link("bob")
    bad, good = core.scheduled(in_s=1), core.scheduled(account="bob", in_s=POLICY.lease_s + 100)
    core.write(lambda unit: unit._db.execute(update(POST).where(POST.c.id == bad).values(facts="{")))

    core.run_for(POLICY.lease_s + 200)

    assert core.post(good).state is State.PUBLISHED
    assert caplog.text.count(f"post {bad} cannot be read") == 1


# -- a worker that dies --------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_not_followed_by_another_at_once(core: Core) -> None:
    core.platform.next("creator", RuntimeError("boom"), RuntimeError("boom"))
    post = core.scheduled(in_s=0)
    core.settle()
    assert core.post(post).state is State.RETRY_WAIT
    assert core.post(post).wake_at == core.clock.now() + timedelta(seconds=FIRST)

    core.run_for(FIRST)
    assert core.post(post).wake_at == core.clock.now() + timedelta(seconds=SECOND)

    core.run_for(SECOND + 30)
    assert core.post(post).state is State.PUBLISHED


def test_a_post_whose_worker_dies_each_time_is_put_aside_after_as_many_tries_as_any_other(core: Core) -> None:
    core.platform.next("creator", *[RuntimeError("boom")] * 50)
    post = core.scheduled(in_s=0)
    before = core.platform.count("creator")

    core.run_for(3000)

    found = core.post(post)
    assert (found.state, found.reason) == (State.HELD, HOLD_CRASHES)
    assert core.platform.count("creator") - before == len(POLICY.retry_delays_s) + 1
    core.platform.script.clear()
    core.do("post/publish_now", {"post": post})
    core.run_for(30)
    assert core.post(post).state is State.PUBLISHED


def test_a_worker_that_dies_before_its_attempt_has_begun_is_counted_too(core: Core) -> None:
    rates = dict(core.platform.rates)
    core.platform.rates.clear()  # the handler that begins an attempt fails
    post = core.scheduled(in_s=0)

    core.run_for(3000)

    found = core.post(post)
    assert (found.state, found.reason) == (State.HELD, HOLD_CRASHES)
    assert found.fence == len(POLICY.retry_delays_s) + 1
    core.platform.rates.update(rates)


def test_an_upload_whose_worker_dies_is_resumed_later_and_not_begun_anew(core: Core) -> None:
    core.platform.next("send_chunk", lambda: None, RuntimeError("boom"))
    post = core.scheduled(in_s=0)
    core.settle()
    assert core.post(post).state is State.UPLOADING
    assert core.platform.count("status") == 0

    core.run_for(FIRST + 30)

    assert core.post(post).state is State.PUBLISHED
    assert core.platform.count("init") == 1
    assert len(core.platform.published()) == 1


@pytest.mark.parametrize("state", sorted(IN_HAND))
def test_what_follows_a_dead_worker_is_a_move_of_the_table_and_never_at_once(state: State) -> None:
    posts = [a_post(state=state, claims=claims) for claims in (1, 2, 99)]
    if state in {State.CLAIMED, State.VALIDATING, State.INITIALISED}:
        posts += [an_address_post(state=state, claims=claims) for claims in (1, 99)]
    for post, attempt in product(posts, (None, an_attempt(), an_attempt(publish_id="v"))):
        found = recover_later(post, attempt, NOW, Policy(), 1.0)

        assert found.trigger is None or (state, found.trigger) in MOVES
        assert found.trigger is not Trigger.REQUEUE
        assert found.wake_at is None or found.wake_at > NOW


def test_where_no_retries_are_wanted_a_dead_worker_ends_it() -> None:
    found = recover_later(
        a_post(state=State.VALIDATING, claims=1), an_attempt(), NOW, Policy(retry_delays_s=()), 1.0
    )

    assert found.trigger is Trigger.HOLD
