"""The door for TikTok's webhooks: who may call it, and what each refusal says."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.uploader import TikTokUploader
from daemon.domain.hints import Hint
from tests.core import Core
from tests.integration.http_stage import Answer, Stage, staged

PATH = "/tiktok/webhook"
SECRET = "canary-client-secret"


class TikTok:
    """Reads webhooks with the app's secret, as long as there is one."""

    def __init__(self) -> None:
        self.secret: str | None = SECRET
        self.core: Core | None = None
        self.has_read = threading.Event()

    def for_core(self, core: Core) -> "TikTok":
        self.core = core
        return self

    def read_hint(self, signatures: Sequence[str], body: bytes) -> Hint:
        assert self.core is not None
        app = TikTokUploader(TikTokSettings(client_key="ck", client_secret=self.secret), self.core.clock)
        self.has_read.set()
        return app.read_hint(signatures, body)


APP = TikTok()
STOPPING = threading.Event()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("http")
    with staged(folder, hints=APP.for_core, is_stopping=STOPPING.is_set) as found:
        yield found


def envelope(**changes: Any) -> bytes:
    content = json.dumps({"publish_id": "v_pub_9"})
    found = {
        "client_key": "ck",
        "event": "post.publish.complete",
        "create_time": 1,
        "user_openid": "open-ada",
    }
    return json.dumps(found | {"content": content} | changes).encode()


def sign(stage: Stage, body: bytes) -> str:
    stamp = int(stage.core.clock.now().timestamp())
    return f"t={stamp},s={hmac.new(SECRET.encode(), b'%d.' % stamp + body, hashlib.sha256).hexdigest()}"


def send(stage: Stage, body: bytes | None = None, *, signature: str | None = None, **headers: str) -> Answer:
    body = envelope() if body is None else body
    signature = sign(stage, body) if signature is None else signature
    return stage.post(PATH, raw=body, user=None, TikTok_Signature=signature, **headers)


def test_a_webhook_needs_no_token_and_its_answer_is_empty(stage: Stage) -> None:
    answer = send(stage)

    assert (answer.status, answer.raw) == (200, b"{}")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream", "odd"])
def test_the_content_type_does_not_matter(stage: Stage, kind: str) -> None:
    assert send(stage, Content_Type=kind).status == 200


def test_the_address_may_have_a_query(stage: Stage) -> None:
    body = envelope()

    assert stage.post(f"{PATH}?a=1", raw=body, user=None, TikTok_Signature=sign(stage, body)).status == 200


@pytest.mark.parametrize(
    "signature",
    ["", "t=1,s=2", "t=1767225600,s=" + "0" * 64, "x" * 8000],
    ids=["none", "odd", "wrong", "long"],
)
def test_a_bad_signature_is_told_nothing_but_that(stage: Stage, signature: str) -> None:
    answer = send(stage, signature=signature)

    assert (answer.status, answer.headers["www-authenticate"]) == (401, "TikTok-Signature")
    assert answer.body == {
        "error": {"code": "unauthorized", "message": "a valid signature is needed", "retryable": False}
    }


def test_an_old_signature_is_answered_like_a_wrong_one(stage: Stage) -> None:
    old = sign(stage, envelope())
    stage.core.clock.advance(301)

    assert send(stage, signature=old).raw == send(stage, signature="t=1,s=2").raw


def test_a_webhook_for_another_app_is_answered_like_a_wrong_one(stage: Stage) -> None:
    assert send(stage, envelope(client_key="other")).raw == send(stage, signature="t=1,s=2").raw


def test_what_is_signed_and_cannot_be_read_is_a_bad_request(stage: Stage) -> None:
    answer = send(stage, b"no json")

    assert (answer.status, answer.code) == (400, "bad_json")


def test_a_body_of_64_kib_is_read_and_a_longer_one_is_not(stage: Stage) -> None:
    body = envelope()
    whole = body + b" " * (65536 - len(body))

    assert send(stage, whole).status == 200
    assert send(stage, whole + b" ").status == 413


def test_a_name_that_is_not_ours_is_refused(stage: Stage) -> None:
    assert send(stage, Host="evil.example").status == 421


def test_a_page_in_a_browser_may_not_send_webhooks(stage: Stage) -> None:
    assert send(stage, Origin="https://evil.example").status == 403


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused(stage: Stage, method: str) -> None:
    answer = stage.call(method, PATH, user=None)

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.fixture
def without_secret() -> Iterator[None]:
    APP.secret = None
    yield
    APP.secret = SECRET


@pytest.mark.usefixtures("without_secret")
def test_without_the_apps_secret_it_is_to_come_again_later(stage: Stage) -> None:
    answer = send(stage)

    assert (answer.status, answer.code) == (503, "not_configured")
    assert int(answer.headers["retry-after"]) > 0


@pytest.fixture
def stopping() -> Iterator[None]:
    STOPPING.set()
    yield
    STOPPING.clear()


@pytest.mark.usefixtures("stopping")
def test_a_daemon_that_stops_takes_none(stage: Stage) -> None:
    answer = send(stage)

    assert (answer.status, answer.code) == (503, "shutting_down")


def test_a_webhook_is_answered_when_it_is_on_disk(stage: Stage) -> None:
    gate = threading.Event()
    answers: list[Answer] = []
    holder = threading.Thread(target=lambda: stage.core.bus.read(lambda _: gate.wait(10)))
    caller = threading.Thread(target=lambda: answers.append(send(stage)))
    APP.has_read.clear()
    holder.start()
    caller.start()
    assert APP.has_read.wait(10)
    assert stage.get("/livez", user=None).status == 200  # the loop has gone on to the next request by now

    early = list(answers)
    gate.set()
    caller.join(10)
    holder.join(10)

    assert early == []
    assert [answer.status for answer in answers] == [200]
