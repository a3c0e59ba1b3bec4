"""Tokens: what holds, what does not, whose key it may be."""

import ast
import base64
import hmac
import inspect
import json
import os
import textwrap
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from adapters.tokens import REFUSAL, TokenGate
from daemon.domain.errors import Code, Rejected, StartRefused

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CLAIMS: dict[str, Any] = {"iss": "tokd", "sub": "ann", "jti": "k_1", "exp": int((NOW + DAY).timestamp())}
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def gate(tmp_path: Path) -> TokenGate:
    return TokenGate(tmp_path / "secrets" / "jwt.key")


def key_of(tmp_path: Path) -> bytes:
    return (tmp_path / "secrets" / "jwt.key").read_bytes()


def refused(gate: TokenGate, text: str, now: datetime = NOW) -> Rejected:
    with pytest.raises(Rejected) as caught:
        gate.check(text, now)
    return caught.value


def test_an_issued_token_says_who_comes_and_until_when(gate: TokenGate) -> None:
    claims = gate.check(gate.issue("ann", "k_1", NOW, NOW + DAY), NOW)

    assert (claims.user, claims.token_id, claims.expires_at) == ("ann", "k_1", NOW + DAY)


def test_the_key_is_made_for_its_owner_only(gate: TokenGate, tmp_path: Path) -> None:
    gate.open()

    path = tmp_path / "secrets" / "jwt.key"
    assert (path.stat().st_mode & 0o777, len(path.read_bytes())) == (0o600, 32)


def test_the_key_stays_over_a_restart(gate: TokenGate, tmp_path: Path) -> None:
    text = gate.issue("ann", "k_1", NOW, NOW + DAY)

    assert TokenGate(tmp_path / "secrets" / "jwt.key").check(text, NOW).user == "ann"


def test_a_key_that_many_make_at_once_is_one_key(tmp_path: Path) -> None:
    gates = [TokenGate(tmp_path / "secrets" / "jwt.key") for _ in range(16)]
    start = threading.Barrier(len(gates))

    def issue(gate: TokenGate) -> str:
        start.wait(10)
        return gate.issue("ann", "k_1", NOW, NOW + DAY)

    with ThreadPoolExecutor(len(gates)) as pool:
        texts = set(pool.map(issue, gates))

    assert len(texts) == 1
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["jwt.key"]


def test_a_draft_that_a_power_cut_has_left_hinders_nobody(gate: TokenGate, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / f".jwt.key.{os.getpid()}").touch()  # as earlier versions named it

    gate.open()

    assert len(key_of(tmp_path)) == 32


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_refuses_the_start(gate: TokenGate, tmp_path: Path, mode: int) -> None:
    gate.open()
    (tmp_path / "secrets" / "jwt.key").chmod(mode)

    with pytest.raises(StartRefused, match="chmod 600"):
        TokenGate(tmp_path / "secrets" / "jwt.key").open()


def test_a_key_behind_a_symbolic_link_refuses_the_start(gate: TokenGate, tmp_path: Path) -> None:
    gate.open()
    (tmp_path / "link.key").symlink_to(tmp_path / "secrets" / "jwt.key")

    with pytest.raises(StartRefused):
        TokenGate(tmp_path / "link.key").open()


def test_a_damaged_key_refuses_the_start(gate: TokenGate, tmp_path: Path) -> None:
    gate.open()
    (tmp_path / "secrets" / "jwt.key").write_bytes(b"short")

    with pytest.raises(StartRefused, match="damaged"):
        TokenGate(tmp_path / "secrets" / "jwt.key").open()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exp": int(NOW.timestamp())}, id="expired"),
        pytest.param({"exp": None}, id="without an end"),
        pytest.param({"exp": "tomorrow"}, id="with an end that is no number"),
        pytest.param({"exp": True}, id="with an end that is a truth"),
        pytest.param({"exp": 1e300}, id="with an end beyond all time"),
        pytest.param({"nbf": int((NOW + DAY).timestamp()), "exp": int((NOW + 2 * DAY).timestamp())}, id="not yet"),
        pytest.param({"sub": None}, id="without a user"),
        pytest.param({"sub": ""}, id="with an empty user"),
        pytest.param({"sub": "a/b"}, id="with a user that is no name"),
        pytest.param({"sub": "a" * 65}, id="with a long user"),
        pytest.param({"jti": None}, id="without a name"),
        pytest.param({"iss": "other"}, id="of another issuer"),
    ],
)  # fmt: skip
def test_a_token_with_the_right_signature_does_not_hold(
    gate: TokenGate, tmp_path: Path, changes: dict[str, Any]
) -> None:
    gate.open()
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}

    error = refused(gate, jwt.encode(claims, key_of(tmp_path), algorithm="HS256"))

    assert (error.code, error.message) == (Code.UNAUTHORIZED, REFUSAL)


def test_a_token_without_a_signature_does_not_hold(gate: TokenGate) -> None:
    assert refused(gate, jwt.encode(CLAIMS, None, algorithm="none")).message == REFUSAL


def test_a_token_with_another_algorithm_does_not_hold(gate: TokenGate, tmp_path: Path) -> None:
    gate.open()

    assert refused(gate, jwt.encode(CLAIMS, key_of(tmp_path) * 2, algorithm="HS512")).message == REFUSAL


def test_a_token_of_another_key_does_not_hold(gate: TokenGate) -> None:
    assert refused(gate, jwt.encode(CLAIMS, b"x" * 32, algorithm="HS256")).message == REFUSAL


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "..", "e30.e30.", "é.b.c", "a" * 5000])
def test_what_is_no_token_does_not_hold(gate: TokenGate, text: str) -> None:
    assert refused(gate, text).message == REFUSAL


SPARE = str.maketrans("AEIMQUYcgkosw048", "BFJNRVZdhlptx159")  # the same bits, and one that does not count


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda text: f"{text}=", id="padding"),
        pytest.param(lambda text: f"{text}!", id="a letter that is none"),
        pytest.param(lambda text: f"{text[:-9]}\n{text[-9:]}", id="a line break"),
        pytest.param(lambda text: text[:-1] + text[-1].translate(SPARE), id="a spare bit"),
        pytest.param(lambda text: text.replace(".", "!.", 1), id="a letter that is none in the head"),
        pytest.param(lambda text: f"{text}.", id="a fourth part"),
    ],
)
def test_a_token_holds_letter_by_letter_only(gate: TokenGate, spoil: Callable[[str], str]) -> None:
    text = gate.issue("ann", "k_1", NOW, NOW + DAY)

    assert spoil(text) != text
    assert refused(gate, spoil(text)).message == REFUSAL
    assert gate.check(text, NOW).user == "ann"


def test_a_signature_is_compared_in_constant_time_by_construction() -> None:
    """Nothing to measure: the one comparison is hmac.compare_digest, in C, with a digest of which no caller knows a bit."""
    source = inspect.getsource(jwt.api_jws.PyJWS().get_algorithm_by_name("HS256").verify)
    nodes = list(ast.walk(ast.parse(textwrap.dedent(source))))

    (answer,) = (node.value for node in nodes if isinstance(node, ast.Return))

    assert isinstance(answer, ast.Call)
    assert ast.unparse(answer.func) == "hmac.compare_digest"
    assert isinstance(hmac.compare_digest, types.BuiltinFunctionType)
    assert not [node for node in nodes if isinstance(node, ast.Compare)]


def test_a_token_that_is_nested_beyond_all_measure_does_not_hold(gate: TokenGate) -> None:
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 100_000).rstrip(b"=").decode()

    assert refused(gate, f"{deep}.e30.x").message == REFUSAL


# -- keys of another issuer ----------------------------------------------------------------------------------


def jwks(tmp_path: Path, *keys: dict[str, Any]) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": list(keys)}))
    return path


def rsa_jwk(**more: Any) -> dict[str, Any]:
    return json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key())) | {"kid": "r"} | more


def ec_jwk(**more: Any) -> dict[str, Any]:
    return json.loads(ECAlgorithm.to_jwk(EC_KEY.public_key())) | {"kid": "e"} | more


def foreign(tmp_path: Path, *keys: dict[str, Any], **more: Any) -> TokenGate:
    return TokenGate(tmp_path / "jwt.key", jwks(tmp_path, *keys), **more)


@pytest.mark.parametrize(("key", "algorithm", "name"), [(RSA_KEY, "RS256", "r"), (EC_KEY, "ES256", "e")])
def test_a_token_of_another_issuer_holds(tmp_path: Path, key: Any, algorithm: str, name: str) -> None:
    gate = foreign(tmp_path, rsa_jwk(), ec_jwk())

    claims = gate.check(jwt.encode(CLAIMS, key, algorithm=algorithm, headers={"kid": name}), NOW)

    assert (claims.user, claims.token_id) == ("ann", None)


def test_a_token_that_names_no_key_holds_where_there_is_one(tmp_path: Path) -> None:
    gate = foreign(tmp_path, ec_jwk())

    assert gate.check(jwt.encode(CLAIMS, EC_KEY, algorithm="ES256"), NOW).user == "ann"


def test_a_public_key_is_no_secret_to_sign_with(tmp_path: Path) -> None:
    gate = foreign(tmp_path, rsa_jwk())
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "HS256", "typ": "JWT", "kid": "r"}, CLAIMS)
    )
    forged = jwt.api_jws.PyJWS().get_algorithm_by_name("HS256").sign(f"{head}.{body}".encode(), pem)
    end = base64.urlsafe_b64encode(forged).rstrip(b"=").decode()

    assert refused(gate, f"{head}.{body}.{end}").message == REFUSAL


@pytest.mark.parametrize("claims", [{"iss": "other"}, {"aud": "other"}])
def test_a_token_for_somebody_else_does_not_hold(tmp_path: Path, claims: dict[str, Any]) -> None:
    gate = foreign(tmp_path, ec_jwk(), issuer="https://login.example", audience="tokd")
    right = CLAIMS | {"iss": "https://login.example", "aud": "tokd"}

    assert gate.check(jwt.encode(right, EC_KEY, algorithm="ES256"), NOW).user == "ann"
    assert refused(gate, jwt.encode(right | claims, EC_KEY, algorithm="ES256")).message == REFUSAL


def test_tokens_of_another_issuer_cannot_be_issued_here(tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        foreign(tmp_path, ec_jwk()).issue("ann", "k_1", NOW, NOW + DAY)

    assert caught.value.code is Code.NOT_CONFIGURED


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="none"),
        pytest.param([{"kty": "oct", "k": "c2VjcmV0"}], id="a secret"),
        pytest.param([rsa_jwk(alg="RS512")], id="another algorithm"),
        pytest.param([ec_jwk(), ec_jwk()], id="one name for two"),
        pytest.param([{"kty": "RSA"}], id="half a key"),
        pytest.param(["text"], id="a text"),
    ],
)
def test_keys_that_are_of_no_use_refuse_the_start(tmp_path: Path, keys: list[Any]) -> None:
    with pytest.raises(StartRefused, match=r"jwks\.json"):
        foreign(tmp_path, *keys).open()


def test_a_missing_file_of_keys_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="cannot be read"):
        TokenGate(tmp_path / "jwt.key", tmp_path / "none.json").open()
