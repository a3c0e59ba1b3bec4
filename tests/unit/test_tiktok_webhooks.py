"""Which webhooks are TikTok's, and what they say."""

import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.webhooks import KINDS, Webhooks, parse_signature
from daemon.domain.errors import Code, Rejected
from daemon.domain.hints import Hint, HintKind
from tests.fakes.clock import FakeClock

SECRET = "test_secret"
# The vector of tiktok-api.md section 7.
STAMP = 1_700_000_001
BODY = (
    b'{"client_key":"ck_test","event":"post.publish.complete","create_time":1700000000,"user_openid":"open-1",'
    b'"content":"{\\"publish_id\\":\\"v_pub_file~v2-1.1\\",\\"publish_type\\":\\"DIRECT_PUBLISH\\"}"}'
)
DIGEST = "7d78b8fdbab5bc7a6eab47ec6b6428f5e5f977fd099d19f3e5a4ccc1ad9fef60"


def reader(*, at: float = STAMP, secret: str | None = SECRET, key: str = "ck_test") -> Webhooks:
    clock = FakeClock()
    clock.step(timedelta(seconds=at - clock.now().timestamp()))
    return Webhooks(TikTokSettings(client_key=key, client_secret=secret), clock)


def signed(body: bytes, stamp: int = STAMP, secret: str = SECRET) -> str:
    return f"t={stamp},s={hmac.new(secret.encode(), b'%d.' % stamp + body, hashlib.sha256).hexdigest()}"


def envelope(told: object = None, **changes: Any) -> bytes:
    found = {
        "client_key": "ck_test", "event": "post.publish.complete", "create_time": 1_700_000_000,
        "user_openid": "open-1", "content": json.dumps({"publish_id": "p-1"} if told is None else told),
    }  # fmt: skip
    return json.dumps({key: value for key, value in (found | changes).items() if value is not ...}).encode()


def read(body: bytes) -> Hint:
    return reader().read([signed(body)], body)


def refusal(signatures: list[str], body: bytes = BODY, **how: Any) -> Code:
    with pytest.raises(Rejected) as caught:
        reader(**how).read(signatures, body)
    return caught.value.code


def test_the_known_signature_is_right() -> None:
    assert reader().read([f"t={STAMP},s={DIGEST}"], BODY) == Hint(
        platform="tiktok", kind=HintKind.POST_COMPLETE, open_id="open-1", publish_id="v_pub_file~v2-1.1",
        sent_at=1_700_000_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    "header",
    [
        f"t={STAMP},s={DIGEST}", f"s={DIGEST},t={STAMP}", f" t = {STAMP} ,\ts = {DIGEST} ", f"T={STAMP},S={DIGEST}",
        f"t={STAMP},s={DIGEST.upper()}",
    ],
)  # fmt: skip
def test_order_spaces_and_case_of_the_header_do_not_matter(header: str) -> None:
    assert parse_signature(header) == (str(STAMP), DIGEST)


@pytest.mark.parametrize(
    "header",
    [
        "", ",", "t", f"t={STAMP}", f"s={DIGEST}", f"t=,s={DIGEST}", f"t={STAMP},s=", f"t={STAMP},s={DIGEST},",
        f"t={STAMP},s={DIGEST},s={DIGEST}", f"t={STAMP},t={STAMP},s={DIGEST}", f"t={STAMP},s={'0' * 64},S={DIGEST}",
        f"t={STAMP},s={DIGEST},v=1", f"t={STAMP},s={DIGEST[:-1]}", f"t={STAMP},s={DIGEST}0", f"t=-{STAMP},s={DIGEST}",
        f"t={STAMP}.0,s={DIGEST}", f"t=1e9,s={DIGEST}", f"t=0x1,s={DIGEST}", f"t={'1' * 13},s={DIGEST}",
        f"t=\u0661{STAMP},s={DIGEST}", f"t={STAMP};s={DIGEST}", f"t={STAMP} s={DIGEST}", f"t={STAMP},s=g{DIGEST[1:]}",
        f"sha256={DIGEST}", DIGEST, f"t={STAMP}\n,s={DIGEST}",
    ],
)  # fmt: skip
def test_a_header_of_another_form_is_none(header: str) -> None:
    assert parse_signature(header) is None
    assert refusal([header]) is Code.UNAUTHORIZED


@pytest.mark.parametrize("count", [0, 2])
def test_the_header_stands_once(count: int) -> None:
    assert refusal([f"t={STAMP},s={DIGEST}"] * count) is Code.UNAUTHORIZED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY + b" ", id="a byte more"),
        pytest.param(BODY[:-1], id="a byte less"),
        pytest.param(b"", id="nothing"),
        pytest.param(json.dumps(json.loads(BODY)).encode(), id="written anew"),
        pytest.param(BODY.replace(b"open-1", b"open-2"), id="another user"),
    ],
)
def test_a_body_that_was_changed_is_refused(body: bytes) -> None:
    assert refusal([f"t={STAMP},s={DIGEST}"], body) is Code.UNAUTHORIZED


def test_a_signature_holds_for_its_own_time_only() -> None:
    assert refusal([f"t={STAMP + 1},s={DIGEST}"]) is Code.UNAUTHORIZED


def test_another_secret_signs_nothing() -> None:
    assert refusal([signed(BODY, secret="other")]) is Code.UNAUTHORIZED


@pytest.mark.parametrize("by", [-300, 300])
def test_a_signature_holds_for_five_minutes_in_both_directions(by: int) -> None:
    assert reader(at=STAMP + by).read([f"t={STAMP},s={DIGEST}"], BODY).kind is HintKind.POST_COMPLETE


@pytest.mark.parametrize("by", [-301, 301, -1_700_000_000])
def test_a_signature_that_is_too_old_or_too_new_is_refused(by: int) -> None:
    assert refusal([f"t={STAMP},s={DIGEST}"], at=STAMP + by) is Code.UNAUTHORIZED


def test_a_webhook_for_another_app_is_refused() -> None:
    assert refusal([f"t={STAMP},s={DIGEST}"], key="ck_other") is Code.UNAUTHORIZED


def test_without_the_secret_nothing_can_be_taken() -> None:
    assert refusal([f"t={STAMP},s={DIGEST}"], secret=None) is Code.NOT_CONFIGURED


def test_every_refusal_of_a_signature_says_the_same() -> None:
    said = set()
    for header, at in ((f"t={STAMP},s={'0' * 64}", STAMP), (f"t={STAMP},s={DIGEST}", 0), ("x", STAMP)):
        with pytest.raises(Rejected) as caught:
            reader(at=at).read([header], BODY)
        said.add(str(caught.value.as_dict()))

    assert len(said) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{", b"[" * 5000, b"\xff", envelope(client_key=...), envelope(client_key=7),
        envelope(event=...), envelope(event=1), envelope(create_time=...), envelope(create_time="x"),
        envelope(create_time=True), envelope(create_time=1.5), envelope(user_openid=...), envelope(user_openid=1),
        envelope(user_openid="a b"), envelope(user_openid="x" * 201), envelope(content=...) , envelope([]),
        envelope({}), envelope({"publish_id": ""}), envelope({"publish_id": []}), envelope({"publish_id": True}),
        envelope({"publish_id": "a b"}), envelope({"publish_id": "p", "post_id": {}}),
        b'{"client_key":"ck_test","event":"post.publish.complete","create_time":1,"user_openid":"o","content":{}}',
    ],
)  # fmt: skip
def test_what_is_signed_and_cannot_be_read_is_told_apart(body: bytes) -> None:
    assert refusal([signed(body)], body) is Code.BAD_JSON


@pytest.mark.parametrize(("event", "kind"), KINDS.items())
def test_every_spelling_of_an_event_counts(event: str, kind: HintKind) -> None:
    assert read(envelope(event=event)).kind is kind


def test_both_spellings_of_publicly_are_one_event() -> None:
    first, second = (
        read(envelope(event=f"post.publish.no_longer_{word}_available")) for word in ("publicly", "publicaly")
    )

    assert first.key == second.key


@pytest.mark.parametrize("event", ["portability.download.ready", "video.upload.failed", "odd", ""])
def test_an_event_that_says_nothing_to_us_is_taken_whatever_it_holds(event: str) -> None:
    assert read(envelope(event=event, content=7, user_openid=...)).kind is HintKind.OTHER


@pytest.mark.parametrize("told", [7602997517160123666, "7602997517160123666"])
def test_a_public_id_may_be_a_number_or_a_string(told: object) -> None:
    found = read(envelope({"publish_id": "p-1", "post_id": told}, event="post.publish.publicly_available"))

    assert found.public_id == "7602997517160123666"


def test_a_removal_needs_no_content() -> None:
    found = read(envelope(event="authorization.removed", content=...))

    assert (found.kind, found.open_id) == (HintKind.ACCOUNT_REMOVED, "open-1")


def test_a_repeat_has_the_key_of_the_first_one() -> None:
    first, repeat = (
        reader(at=at).read([signed(BODY, at)], BODY) for at in (STAMP, STAMP + 3600)
    )  # signed anew

    assert first.key == repeat.key


@pytest.mark.parametrize(
    "other",
    [
        envelope(create_time=1_700_000_009), envelope(user_openid="open-2"), envelope({"publish_id": "p-2"}),
        envelope(event="post.publish.failed"), envelope({"publish_id": "p-1", "post_id": "7"}),
    ],
)  # fmt: skip
def test_what_is_told_of_something_else_has_another_key(other: bytes) -> None:
    assert read(envelope()).key != read(other).key
