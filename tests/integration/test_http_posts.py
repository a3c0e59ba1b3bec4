"""Posts and accounts over HTTP: the same verbs as everywhere, their statuses, whose posts are whose."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.http_stage import Answer, Stage, staged

POSTS = "/api/v1/posts"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as found:
        found.core.media.put("clip.mp4")
        yield found


def order(stage: Stage, **more: Any) -> dict[str, Any]:
    at = (stage.core.clock.now() + timedelta(hours=1)).isoformat()
    found = {"account": "ada", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": at} | more
    return {key: value for key, value in found.items() if value is not None}


def schedule(stage: Stage, *, user: str = "ann", key: str | None = None, **more: Any) -> Answer:
    headers = {"Idempotency_Key": key} if key else {}
    return stage.post(POSTS, order(stage, **more), user=user, **headers)


def scheduled(stage: Stage, **more: Any) -> str:
    answer = schedule(stage, **more)
    assert answer.status == 201, answer.raw
    return answer.body["post"]


def test_a_post_is_scheduled(stage: Stage) -> None:
    answer = schedule(stage)

    post = answer.body["post"]
    assert (answer.status, answer.headers["location"]) == (201, f"{POSTS}/{post}")
    assert stage.core.post(post).consent.actor == "http:ann"


def test_a_post_that_is_ordered_twice_under_one_key_is_scheduled_once(stage: Stage) -> None:
    at = order(stage)["at"]
    answers = [schedule(stage, key="k-1", at=at) for _ in range(2)]

    assert answers[0].body == answers[1].body
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert len(stage.core.posts()) == 1


def test_a_key_is_made_up_where_none_is_given(stage: Stage) -> None:
    first, second = schedule(stage), schedule(stage)

    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]
    assert len(stage.core.posts()) == 2


def test_one_key_for_two_orders_is_a_conflict(stage: Stage) -> None:
    schedule(stage, key="k-1")

    answer = schedule(stage, key="k-1", title="another")

    assert (answer.status, answer.code) == (409, "id_conflict")


def test_a_post_is_shown(stage: Stage) -> None:
    post = scheduled(stage, title="hello")

    body = stage.get(f"{POSTS}/{post}").body

    assert (body["post"], body["state"], body["title"]) == (post, "scheduled", "hello")


def test_posts_are_listed_page_by_page(stage: Stage) -> None:
    posts = []
    for _ in range(3):
        posts.append(scheduled(stage))
        stage.core.clock.advance(1)

    first = stage.get(f"{POSTS}?limit=2").body
    second = stage.get(f"{POSTS}?limit=2&cursor={first['cursor']}").body

    assert [post["post"] for post in first["posts"] + second["posts"]] == posts[::-1]


@pytest.mark.parametrize(
    ("query", "count"), [("state=draft", 1), ("state=failed", 0), ("account=ada", 2), ("account=bob", 0)]
)
def test_posts_are_listed_by_state_and_account(stage: Stage, query: str, count: int) -> None:
    scheduled(stage)
    scheduled(stage, draft=True, at=None)

    assert len(stage.get(f"{POSTS}?{query}").body["posts"]) == count


@pytest.mark.parametrize(
    "query", ["state=odd", "limit=0", "limit=x", "limit=201", "page=2", "cursor=odd", "state="]
)
def test_a_list_that_makes_no_sense_is_refused(stage: Stage, query: str) -> None:
    assert stage.get(f"{POSTS}?{query}").status == 422


def test_a_post_is_moved(stage: Stage) -> None:
    post = scheduled(stage)
    at = (stage.core.clock.now() + timedelta(hours=3)).isoformat()

    answer = stage.call("PATCH", f"{POSTS}/{post}", {"at": at})

    assert answer.status == 200
    assert stage.core.post(post).due_at == stage.core.clock.now() + timedelta(hours=3)


def test_a_post_is_cancelled_once(stage: Stage) -> None:
    post = scheduled(stage)

    answers = [stage.call("DELETE", f"{POSTS}/{post}") for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 409]
    assert (answers[0].body["state"], answers[1].code) == ("cancelled", "already_final")


def test_a_post_is_published_now(stage: Stage) -> None:
    post = scheduled(stage)

    answer = stage.post(f"{POSTS}/{post}/publish-now")

    assert (answer.status, answer.body["post"]) == (200, post)
    stage.core.settle()
    assert stage.core.post(post).attempt == 1


def test_only_an_uncertain_post_is_resolved(stage: Stage) -> None:
    post = scheduled(stage)

    answer = stage.post(f"{POSTS}/{post}/resolve", {"outcome": "published"})

    assert (answer.status, answer.code) == (422, "bad_field")


@pytest.mark.parametrize("post", ["p_none", "x", "p_%00", "p_"])
@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("GET", "", None), ("PATCH", "", {"at": "now"}), ("DELETE", "", None), ("POST", "/publish-now", None),
        ("POST", "/resolve", {"outcome": "published"}),
    ],
)  # fmt: skip
def test_an_unknown_post_is_not_found(
    stage: Stage, post: str, method: str, rest: str, body: dict[str, str] | None
) -> None:
    answer = stage.call(method, f"{POSTS}/{post}{rest}", body)

    assert (answer.status, answer.code) == (404, "no_such_post")


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("POST", "", {"account": "ada", "cat": 1}),
        ("PATCH", "/p_1", {"at": "now", "post": "p_2"}),
        ("POST", "/p_1/publish-now", {"account": "ada"}),
        ("POST", "/p_1/resolve", {"outcome": "published", "why": "x"}),
    ],
)
def test_an_unknown_field_is_refused(stage: Stage, method: str, rest: str, body: dict[str, Any]) -> None:
    answer = stage.call(method, POSTS + rest, body)

    assert (answer.status, answer.code) == (422, "unknown_field")


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"account": "nobody"}, 404, "no_such_account"),
        ({"media": "none.mp4"}, 422, "media_missing"),
        ({"at": "2026-13-01"}, 422, "bad_time"),
        ({"at": None}, 422, "bad_field"),
        ({"media": None}, 422, "bad_field"),
    ],
)
def test_a_post_that_cannot_be_is_refused(stage: Stage, more: dict[str, Any], status: int, code: str) -> None:
    answer = schedule(stage, **more)

    assert (answer.status, answer.code) == (status, code)


def test_a_refused_field_is_named_as_it_was_sent(stage: Stage) -> None:
    error = schedule(stage, cover_ms=-1).body["error"]

    assert error["field"] == "cover_ms"
    assert error["message"].startswith("cover_ms: ")


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("GET", "", None), ("PATCH", "", {"at": "now"}), ("DELETE", "", None), ("POST", "/publish-now", None),
        ("POST", "/resolve", {"outcome": "published"}),
    ],
)  # fmt: skip
def test_a_post_of_another_user_is_forbidden(
    stage: Stage, method: str, rest: str, body: dict[str, str] | None
) -> None:
    post = scheduled(stage, user="ann")

    answer = stage.call(method, f"{POSTS}/{post}{rest}", body, user="bob")

    assert (answer.status, answer.code) == (403, "forbidden")


def test_a_list_shows_ones_own_posts_and_those_of_nobody_in_particular(stage: Stage) -> None:
    mine, ours = scheduled(stage, user="ann"), stage.core.scheduled()
    scheduled(stage, user="bob")

    found = {post["post"] for post in stage.get(POSTS).body["posts"]}

    assert found == {mine, ours}


def test_accounts_are_listed_without_their_tokens(stage: Stage) -> None:
    answer = stage.get("/api/v1/accounts")

    assert [account["account"] for account in answer.body["accounts"]] == ["ada"]
    assert b"access-0" not in answer.raw


def test_a_post_whose_file_takes_long_to_check_is_taken_and_told_later(tmp_path: Path) -> None:
    with staged(tmp_path, answer_within_s=0.2) as stage:
        stage.core.media.put("clip.mp4", checked=False)
        stage.core.media.gate = gate = threading.Event()
        body = order(stage)
        first = stage.post(POSTS, body, Idempotency_Key="k-1")
        gate.set()
        stage.core.settle()
        second = stage.post(POSTS, body, Idempotency_Key="k-1")

    assert (first.status, first.body) == (202, {"status": "accepted", "command_id": "k-1"})
    assert (second.status, second.headers["idempotent-replayed"]) == (201, "true")
