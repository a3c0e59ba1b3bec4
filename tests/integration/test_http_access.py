"""Who is let in: the token, its signature, its end, its revocation; and what an answer gives away."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import jwt
import pytest

from adapters.tokens import TokenGate
from tests.integration.http_stage import Stage, staged

CLOSED = [
    ("POST", "/tiktok/session"), ("GET", "/tiktok/sessions"), ("GET", "/tiktok/session/0000000000000001"),
    ("DELETE", "/tiktok/session/0000000000000001"), ("POST", "/tiktok/session/0000000000000001/extend"),
    ("POST", "/browse"), ("POST", "/profiles/master/login"), ("POST", "/api/v1/posts"), ("GET", "/api/v1/posts"),
    ("GET", "/api/v1/posts/p_1"), ("PATCH", "/api/v1/posts/p_1"), ("DELETE", "/api/v1/posts/p_1"),
    ("POST", "/api/v1/posts/p_1/publish-now"), ("POST", "/api/v1/posts/p_1/resolve"), ("GET", "/api/v1/accounts"),
    ("GET", "/metrics"), ("GET", "/openapi.json"), ("GET", "/asyncapi.json"), ("GET", "/api/v1/events"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("http")) as found:
        yield found


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as found:
        yield found


def with_token(stage: Stage, text: str) -> int:
    return stage.get("/api/v1/posts", user=None, Authorization=f"Bearer {text}").status


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_an_endpoint_is_closed_without_a_token(shared: Stage, method: str, path: str) -> None:
    answer = shared.call(method, path, user=None)

    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.code.lower() == "unauthorized"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_the_probes_need_no_token(shared: Stage, path: str) -> None:
    assert shared.get(path, user=None).status == 200


def test_the_numbers_need_no_token_where_the_settings_say_so(tmp_path: Path) -> None:
    with staged(tmp_path, metrics_need_token=False) as stage:
        assert stage.get("/metrics", user=None).status == 200


def test_a_token_lets_in(shared: Stage) -> None:
    assert with_token(shared, shared.token()) == 200


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", "Basic YTpi", "Token {}", "{}", "Bearer {} x", "Bearer {}.x"]
)
def test_any_other_credentials_are_refused(shared: Stage, value: str) -> None:
    answer = shared.get("/api/v1/posts", user=None, Authorization=value.format(shared.token()))

    assert answer.status == 401


def test_two_credentials_are_refused(shared: Stage) -> None:
    line = f"Authorization: Bearer {shared.token()}\r\n"

    found = shared.say(
        f"GET /api/v1/posts HTTP/1.1\r\nHost: localhost\r\n{line}{line}Connection: close\r\n\r\n".encode()
    )

    assert found.startswith(b"HTTP/1.1 401 ")


def test_every_refusal_says_the_same(shared: Stage, tmp_path: Path) -> None:
    other = TokenGate(tmp_path / "jwt.key").issue(
        "ann", "k_1", shared.core.clock.now(), shared.core.clock.now()
    )

    answers = {
        shared.get("/api/v1/posts", user=None, Authorization=value).raw
        for value in ("", "Bearer x", f"Bearer {other}", f"Bearer {jwt.encode({}, None, algorithm='none')}")
    }

    assert len(answers) == 1


def forged(stage: Stage, algorithm: str, **changes: object) -> str:
    """Return a token as its owner has it, but signed with this algorithm and with other claims."""
    claims = jwt.decode(stage.token(), options={"verify_signature": False}) | changes
    key = stage.core.gate._ready()[0].secret if algorithm != "none" else None
    return jwt.encode(claims, key, algorithm=algorithm)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_token_signed_with_another_algorithm_is_refused(shared: Stage) -> None:
    assert [with_token(shared, forged(shared, name)) for name in ("HS256", "HS384", "none")] == [
        200,
        401,
        401,
    ]


def test_a_token_that_nobody_issued_is_refused_however_well_it_is_signed(shared: Stage) -> None:
    assert with_token(shared, forged(shared, "HS256", jti="k_ffffffffffffffff")) == 401


def test_a_token_ends(stage: Stage) -> None:
    stage.token()
    stage.core.clock.advance(timedelta(days=365))

    assert with_token(stage, stage.token()) == 401


def test_a_token_that_is_taken_back_is_refused_at_once(stage: Stage) -> None:
    token = stage.core.do("token/issue", {"user": "ann"}, is_local=True, id="")
    assert with_token(stage, token["text"]) == 200

    stage.core.do("token/revoke", {"token": token["token"]}, is_local=True)

    assert with_token(stage, token["text"]) == 401
    assert with_token(stage, stage.token("bob")) == 200


def test_a_token_that_was_taken_back_stays_so_after_a_restart(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        kept, gone = (stage.core.do("token/issue", {"user": "ann"}, is_local=True, id="") for _ in range(2))
        stage.core.do("token/revoke", {"token": gone["token"]}, is_local=True)

    with staged(tmp_path) as stage:
        assert [with_token(stage, token["text"]) for token in (kept, gone)] == [200, 401]


def test_tokens_are_no_matter_of_http(shared: Stage) -> None:
    assert shared.get("/api/v1/tokens").status == 404


def test_a_key_of_the_daemon_is_in_no_answer(shared: Stage) -> None:
    text = shared.token()

    for path in ("/readyz", "/livez", "/openapi.json", "/metrics", "/api/v1/posts"):
        assert text.encode() not in shared.get(path).raw
