"""Issuing, listing and taking back tokens; and whose posts and sessions a user of HTTP may touch."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.domain.access import may_touch
from tests.core import Core


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        yield found


def issued(core: Core, user: str = "ann", **args: object) -> dict[str, str]:
    return core.do("token/issue", {"user": user} | args, is_local=True, id="")


def test_a_token_is_issued_for_a_year(core: Core) -> None:
    found = issued(core)

    claims = core.gate.check(found["text"], core.clock.now())
    assert (claims.user, claims.token_id) == ("ann", found["token"])
    assert claims.expires_at == core.clock.now() + timedelta(days=365)


def test_the_text_of_a_token_is_stored_nowhere(core: Core) -> None:
    found = issued(core)

    core.stop()

    assert found["token"].encode() in core.stored()
    assert found["text"].rpartition(".")[2].encode() not in core.stored()


def test_a_list_of_tokens_names_them_without_their_text(core: Core) -> None:
    names = {issued(core, user)["token"] for user in ("ann", "bob")}

    found = core.do("token/list", is_local=True, id="")["tokens"]

    assert {token["token"] for token in found} == names
    assert all(token["valid"] and "text" not in token for token in found)


def test_a_token_that_is_taken_back_does_not_hold_any_more(core: Core) -> None:
    token = issued(core)["token"]

    assert core.do("token/revoke", {"token": token}, is_local=True)["valid"] is False
    assert core.event_types(f"token/{token}") == ["token.issued", "token.revoked"]


def test_a_token_is_taken_back_once(core: Core) -> None:
    token = issued(core)["token"]
    first = core.do("token/revoke", {"token": token}, is_local=True)
    core.clock.advance(60)

    assert core.do("token/revoke", {"token": token}, is_local=True) == first


def test_a_token_that_does_not_exist_cannot_be_taken_back(core: Core) -> None:
    error = core.refusal("token/revoke", {"token": f"k_{0:016x}"}, is_local=True)

    assert error["code"] == "no_such_token"


@pytest.mark.parametrize("verb", ["token/issue", "token/revoke", "token/list"])
def test_tokens_are_a_matter_of_the_machine(core: Core, verb: str) -> None:
    assert core.refusal(verb, {"user": "ann"})["code"] == "forbidden"


def test_a_dry_run_issues_nothing(core: Core) -> None:
    found = core.do("token/issue", {"user": "ann"}, is_local=True, id="", dry_run=True)

    assert "text" not in found
    assert core.do("token/list", is_local=True, id="")["tokens"] == []


def test_a_token_is_forgotten_some_time_after_its_end(core: Core) -> None:
    issued(core, days=1)
    core.clock.advance(timedelta(days=32))

    core.sweep()

    assert core.do("token/list", is_local=True, id="")["tokens"] == []


@pytest.mark.parametrize(
    ("owner", "actor", "is_allowed"),
    [
        ("http:ann", "http:ann", True),
        ("http:ann", "http:bob", False),
        ("http:ann", "local", True),
        ("http:ann", "me", True),
        ("local", "http:ann", True),
        ("me", "http:ann", True),
    ],
)
def test_what_a_user_of_http_has_ordered_is_that_users(owner: str, actor: str, is_allowed: bool) -> None:
    assert may_touch(owner, actor) is is_allowed


def ordered(core: Core, actor: str) -> str:
    core.media.put("clip.mp4")
    at = (core.clock.now() + timedelta(hours=1)).isoformat()
    args = {"account": "ada", "at": at, "privacy": "SELF_ONLY", "media": "clip.mp4"}
    return core.do("post/schedule", args, actor=actor)["post"]


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("post/status", {}),
        ("post/cancel", {}),
        ("post/publish_now", {}),
        ("post/reschedule", {"at": "now"}),
        ("post/resolve", {"outcome": "published"}),
    ],
)
def test_a_post_of_another_user_is_out_of_reach(core: Core, verb: str, args: dict[str, str]) -> None:
    post = ordered(core, "http:ann")

    assert core.refusal(verb, {"post": post} | args, actor="http:bob")["code"] == "forbidden"


def test_a_list_of_posts_leaves_other_users_posts_out(core: Core) -> None:
    mine, ours = ordered(core, "http:ann"), ordered(core, "local")
    ordered(core, "http:bob")

    found = core.do("post/list", actor="http:ann")["posts"]

    assert {post["post"] for post in found} == {mine, ours}


def test_a_session_of_another_user_is_out_of_reach(core: Core) -> None:
    session = core.do("session/open", actor="http:ann")["session"]

    assert core.refusal("session/close", {"session": session}, actor="http:bob")["code"] == "forbidden"
    assert core.do("session/list", actor="http:bob")["sessions"] == []
    assert core.do("session/show", {"session": session}, actor="local")["state"] == "open"
