"""Who is not let in: some two hundred names, origins and tokens that look right and are not. None of them passes."""

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from adapters.http import HttpServer, HttpSettings
from adapters.tokens import TokenGate
from tests.integration.http_stage import Stage, staged

ORIGIN = "https://app.example"
RSA_KEY = rsa.generate_private_key(65537, 2048)
RSA_JWK: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key()))
SHUT = {400, 401, 403, 421, 431}
ASKED = ("GET", "/api/v1/posts", b"")
ORDERED = ("POST", "/api/v1/tasks", b'{"instance_id":"i"}')

# -- the right ones: PORT is the server's ----------------------------------------------------------------------

RIGHT: dict[str, tuple[str, ...]] = {
    "by its name": ("Host: localhost:PORT",),
    "by its name in capitals": ("Host: LocalHost:PORT",),
    "by its name with a dot": ("Host: localhost.:PORT",),
    "by its address": ("Host: 127.0.0.1:PORT",),
    "by its address without a port": ("Host: 127.0.0.1",),
    "by its address of 128 bits": ("Host: [::1]:PORT",),
    "by its address of 128 bits, at length": ("Host: [0:0:0:0:0:0:0:1]",),
    "by the name in the settings": ("Host: tokd.example",),
    "from the page in the settings": (
        "Host: localhost:PORT",
        f"Origin: {ORIGIN}",
        "Sec-Fetch-Site: cross-site",
    ),
    "from a page of its own": ("Host: localhost:PORT", "Origin: http://localhost:PORT"),
    "from a page of its own behind TLS": ("Host: tokd.example", "Origin: https://tokd.example"),
    "typed by a person": ("Host: localhost:PORT", "Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"),
    "by a script of its own": ("Host: localhost:PORT", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"),
}

# -- names -----------------------------------------------------------------------------------------------------

HOSTS = [
    # moved to this machine, or made to look like it
    "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "7f000001.c0a80001.rebind.example",
    "tokd.example.evil.example", "xtokd.example", "tokd.example-evil.example", "sub.tokd.example", "tokd", "example",
    "localhost.localdomain", "localhost..", ".localhost", "LOCALHOST.evil.example", "ocalhost", "l0calhost", "*",
    # ports
    "localhost:80:80", "localhost:80a", "localhost:-1", "localhost:123456", "localhost:", "localhost:+80",
    "evil.example:PORT", "localhost:80.evil.example", "localhost:PORT@evil.example", ":PORT",
    # brackets
    "[::1].evil.example", "[::1]evil", "[::1", "::1", "::1]", "[]", "[localhost]", "[::2]", "[::]", "[::1%25lo]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[[::1]]", "[::1]:x",
    # userinfo, paths, schemes, lists
    "localhost@evil.example", "evil.example@localhost", "a:b@localhost", "localhost/", "localhost/evil",
    "localhost\\evil", "localhost#evil", "localhost?evil", "http://localhost", "localhost, evil.example",
    "localhost evil.example", "localhost%00", "localhost%2eevil.example", "", " ",
    # other ways to write an address
    "127.1", "127.0.0.2", "127.000.000.001", "0177.0.0.1", "0x7f000001", "0x7f.0.0.1", "2130706433", "0.0.0.0", "0",
    "10.0.0.1", "169.254.169.254", "127.0.0.1.", "127.0.0.1.1", "loc\u0430lhost", "localhost\u3002",
]  # fmt: skip
HARMLESS = {"127.0.0.1."}  # a dot behind our own address: the same address

# -- origins, from a caller with the right token -----------------------------------------------------------------

ORIGINS = [
    "null", "https://evil.example", "", "*", "undefined", "file://", "about:blank", "data:,", "blob:null",
    "chrome-extension://abcdefghijklmnop",
    # almost the one in the settings
    "http://app.example", "https://app.example:443", "https://app.example:444", "https://app.example.",
    "https://app.example/", "https://APP.example", "HTTPS://app.example", "https://app.example.evil.example",
    "https://evilapp.example", "https://sub.app.example", "https://app.exampl", "https://app.example@evil.example",
    "https://evil.example@app.example", "https://evil@app.example", "https://app.example:", "//app.example", "app.example",
    "https://app.example, https://evil.example", "https://evil.example, https://app.example",
    "https://app.example https://evil.example", "https://app.example%00", "https://app.example\\evil", "https:app.example",
    # other programs of this machine
    "http://localhost", "http://localhost:3000", "https://localhost", "http://127.0.0.1:PORT", "http://[::1]:PORT",
    "http://localhost.:PORT", "http://LOCALHOST:PORT", "http://localhost:PORT/", "http://localhost:PORT.evil.example",
    "http://localhost:PORT@evil.example", "http://user@localhost:PORT", "ws://localhost:PORT", "HTTP://localhost:PORT",
    "http://localhost:0PORT", "http://tokd.example",
]  # fmt: skip

# -- what a browser tells about the page, with the right token and no origin ------------------------------------------

PAGES = [
    *(("cross-site", mode, dest) for mode in ("cors", "no-cors", "same-origin", "websocket", "", "NAVIGATE")
      for dest in ("empty",)),
    ("cross-site", "no-cors", "image"), ("cross-site", "no-cors", "script"), ("cross-site", "navigate", "iframe"),
    ("cross-site", "navigate", "frame"), ("cross-site", "navigate", "embed"), ("cross-site", "navigate", "object"),
    ("same-site", "cors", "empty"), ("same-site", "no-cors", "image"), ("same-site", "navigate", "iframe"),
    ("cross-origin", "cors", "empty"), ("CROSS-SITE", "cors", "empty"), ("", "cors", "empty"),
    ("same-origin, cross-site", "cors", "empty"),
]  # fmt: skip

# -- tokens ------------------------------------------------------------------------------------------------------


class Mint:
    """A right token, and what its owner could make of it; `key` is what nobody outside has."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.text = stage.token()
        self.head, self.body, self.end = self.text.split(".")
        self.key = stage.core.gate._ready()[0].secret
        self.claims = jwt.decode(self.text, options={"verify_signature": False})

    def signed(self, algorithm: str = "HS256", key: Any = None, **changes: Any) -> str:
        claims = {name: value for name, value in (self.claims | changes).items() if value is not None}
        return jwt.encode(claims, None if algorithm == "none" else key or self.key, algorithm=algorithm)

    def headed(self, body: str = "", end: str | None = None, **head: Any) -> str:
        return f"{part(head)}.{body or self.body}.{self.end if end is None else end}"

    def other(self) -> str:
        """Return another user's right token."""
        return self.stage.token("bob")


def letters(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def part(value: Any) -> str:
    return letters(json.dumps(value).encode())


def mac(key: bytes, text: str) -> str:
    return letters(hmac.digest(key, text.encode(), "sha256"))


def bearer(make: Callable[[Mint], str]) -> Callable[[Mint], list[str]]:
    return lambda mint: [f"Authorization: Bearer {make(mint)}"]


TOKENS: dict[str, Callable[[Mint], list[str]]] = {
    "none at all": lambda _: [],
    "empty": lambda _: ["Authorization:"],
    "a word": bearer(lambda _: "x"),
    "only the scheme": lambda _: ["Authorization: Bearer"],
    "without a scheme": lambda m: [f"Authorization: {m.text}"],
    "another scheme": lambda m: [f"Authorization: Token {m.text}"],
    "as a password": lambda m: [f"Authorization: Basic {base64.b64encode(f'ann:{m.text}'.encode()).decode()}"],
    "twice": lambda m: [f"Authorization: Bearer {m.text}"] * 2,
    "a bad one first": lambda m: ["Authorization: Bearer x", f"Authorization: Bearer {m.text}"],
    "a bad one behind": lambda m: [f"Authorization: Bearer {m.text}", "Authorization: Bearer x"],
    "two in one": bearer(lambda m: f"{m.text}, Bearer {m.text}"),
    "with a word behind": bearer(lambda m: f"{m.text} x"),
    "with a comma": bearer(lambda m: f"{m.text},"),
    "in quotes": bearer(lambda m: f'"{m.text}"'),
    "behind a tab": lambda m: [f"Authorization: Bearer\t{m.text}"],
    "with a blank in it": bearer(lambda m: f"{m.head}. {m.body}.{m.end}"),
    "with a tab in it": bearer(lambda m: f"{m.head}.\t{m.body}.{m.end}"),
    "in another header": lambda m: [f"X-Authorization: Bearer {m.text}"],
    "of a proxy": lambda m: [f"Proxy-Authorization: Bearer {m.text}"],
    "as a cookie": lambda m: [f"Cookie: Authorization=Bearer {m.text}; token={m.text}"],
    "for a method override": lambda m: ["X-HTTP-Method-Override: GET", f"X-Token: {m.text}"],
    "without its signature": bearer(lambda m: f"{m.head}.{m.body}."),
    "without the dot of its signature": bearer(lambda m: f"{m.head}.{m.body}"),
    "without its head": bearer(lambda m: f".{m.body}.{m.end}"),
    "without its body": bearer(lambda m: f"{m.head}..{m.end}"),
    "only dots": bearer(lambda _: ".."),
    "one letter short": bearer(lambda m: m.text[:-1]),
    "half a signature": bearer(lambda m: m.text[:-20]),
    "one letter long": bearer(lambda m: f"{m.text}A"),
    "padded": bearer(lambda m: f"{m.text}="),
    "with a letter that does not count": bearer(lambda m: f"{m.text}!"),
    "its last letter's spare bit": bearer(lambda m: m.text[:-1] + chr(ord(m.text[-1]) + 1)),
    "its first letter changed": bearer(lambda m: f"f{m.text[1:]}"),
    "one letter of the signature": bearer(lambda m: f"{m.head}.{m.body}.{'A' if m.end[0] != 'A' else 'B'}{m.end[1:]}"),
    "in capitals": bearer(lambda m: m.text.upper()),
    "backwards": bearer(lambda m: m.text[::-1]),
    "a fourth part": bearer(lambda m: f"{m.text}.{m.end}"),
    "in other letters": bearer(lambda m: m.text.replace("-", "+").replace("_", "/") + "=="),
    "another body under its signature": bearer(lambda m: f"{m.head}.{part(m.claims | {'sub': 'root'})}.{m.end}"),
    "another's body under its signature": bearer(lambda m: f"{m.head}.{m.other().split('.')[1]}.{m.end}"),
    "its body under another's signature": bearer(lambda m: f"{m.head}.{m.body}.{m.other().split('.')[2]}"),
    "none": bearer(lambda m: m.signed("none")),
    "none, with a signature": bearer(lambda m: m.headed(alg="none")),
    "None": bearer(lambda m: m.headed(end="", alg="None")),
    "nOnE": bearer(lambda m: m.headed(end="", alg="nOnE")),
    "no algorithm": bearer(lambda m: m.headed(typ="JWT")),
    "an algorithm that is a list": bearer(lambda m: m.headed(alg=["HS256"])),
    "an algorithm that is nothing": bearer(lambda m: m.headed(alg=None)),
    "hs256": bearer(lambda m: m.headed(alg="hs256")),
    "HS384": bearer(lambda m: m.signed("HS384")),
    "HS512": bearer(lambda m: m.signed("HS512")),
    "RS256 by name only": bearer(lambda m: m.headed(alg="RS256")),
    "RS256 with its own key": bearer(lambda m: m.signed("RS256", RSA_KEY)),
    "ES256 by name only": bearer(lambda m: m.headed(alg="ES256")),
    "its own key in the head": bearer(lambda m: m.headed(alg="RS256", jwk=RSA_JWK)),
    "its own key at an address": bearer(lambda m: m.headed(alg="HS256", jku="https://evil.example/jwks.json", end="AAAA")),
    "a key that is a path": bearer(lambda m: m.headed(alg="HS256", kid="../../dev/null", end="AAAA")),
    "encrypted": bearer(lambda m: m.headed(alg="dir", enc="A256GCM")),
    "another key": bearer(lambda m: m.signed(key=b"x" * 32)),
    "a key of zeros": bearer(lambda m: m.signed(key=b"\0" * 32)),
    "an empty key": bearer(lambda m: f"{m.head}.{m.body}.{mac(b'', m.head + '.' + m.body)}"),
    "half its key": bearer(lambda m: m.signed(key=m.key[:16])),
    "its key in letters": bearer(lambda m: m.signed(key=m.key.hex().encode())),
    "over": bearer(lambda m: m.signed(exp=m.claims["iat"])),
    "over by a second": bearer(lambda m: m.signed(exp=int(m.stage.core.clock.now().timestamp()) - 1)),
    "over since the beginning": bearer(lambda m: m.signed(exp=0)),
    "without an end": bearer(lambda m: m.signed(exp=None)),
    "with an end in words": bearer(lambda m: m.signed(exp="2999-01-01")),
    "with an end beyond all time": bearer(lambda m: m.signed(exp=1e300)),
    "not yet": bearer(lambda m: m.signed(nbf=m.claims["exp"] - 1)),
    "of another issuer": bearer(lambda m: m.signed(iss="other")),
    "of no issuer": bearer(lambda m: m.signed(iss=None)),
    "that nobody issued": bearer(lambda m: m.signed(jti="k_ffffffffffffffff")),
    "without a name": bearer(lambda m: m.signed(jti=None)),
    "with a list of names": bearer(lambda m: m.signed(jti=[m.claims["jti"]])),
    "of nobody": bearer(lambda m: m.signed(sub=None)),
    "of an empty user": bearer(lambda m: m.signed(sub="")),
    "of a user that is a path": bearer(lambda m: m.signed(sub="../root")),
    "of a user that is a number": bearer(lambda m: m.signed(sub=1)),
    "of a user with a line break": bearer(lambda m: m.signed(sub="ann\n")),
    "long": bearer(lambda _: "a" * 12_000),
    "nested": bearer(lambda m: f"{letters(b'[' * 5_000)}.{m.body}.{m.end}"),
    "of letters that are none": lambda m: [f"Authorization: Bearer {m.text}\u00e9"],
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(
        tmp_path_factory.mktemp("http"), allowed_hosts=("tokd.example",), cors_origins=(ORIGIN,)
    ) as found:
        found.token()
        yield found


@pytest.fixture(scope="module")
def mint(stage: Stage) -> Mint:
    return Mint(stage)


def send(stage: Stage, asked: tuple[str, str, bytes], *lines: str) -> tuple[int, bytes]:
    """Send a request with these lines as they are; return the status and all that came."""
    method, path, body = asked
    head = [f"{method} {path} HTTP/1.1", *lines, "Connection: close"]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    text = "\r\n".join([*head, "", ""]).replace("PORT", str(stage.port))
    said = stage.say(text.encode() + body)
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", said)
    assert found, said
    return int(found[1]), said


def passes(stage: Stage, *lines: str) -> list[str]:
    """Return what of an honest question and an order got through with these lines, or can be read by a page."""
    before = len(stage.get("/api/v1/tasks").body["tasks"])
    found = []
    for asked in (ASKED, ORDERED):
        status, said = send(stage, asked, *lines)
        if status not in SHUT:
            found.append(f"{asked[0]} {status}")
        if b"access-control-allow-origin" in said.lower() and f"Origin: {ORIGIN}" not in lines:
            found.append("readable")
    if len(stage.get("/api/v1/tasks").body["tasks"]) != before:
        found.append("changed")
    return found


def token_line(mint: Mint) -> str:
    return f"Authorization: Bearer {mint.text}"


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_one_passes(stage: Stage, mint: Mint, name: str) -> None:
    assert send(stage, ASKED, *RIGHT[name], token_line(mint))[0] == 200


def test_an_order_of_the_right_one_is_carried_out(stage: Stage, mint: Mint) -> None:
    assert send(stage, ORDERED, *RIGHT["by its name"], token_line(mint))[0] == 201


@pytest.mark.parametrize("host", [host for host in HOSTS if host not in HARMLESS])
def test_under_a_name_that_is_not_ours_nobody_passes(stage: Stage, mint: Mint, host: str) -> None:
    assert passes(stage, f"Host: {host}", token_line(mint)) == []


@pytest.mark.parametrize("origin", ORIGINS)
def test_from_a_page_that_is_not_ours_nobody_passes(stage: Stage, mint: Mint, origin: str) -> None:
    assert passes(stage, "Host: localhost:PORT", f"Origin: {origin}", token_line(mint)) == []


@pytest.mark.parametrize(("site", "mode", "dest"), PAGES)
def test_what_a_strange_page_embeds_does_not_pass(
    stage: Stage, mint: Mint, site: str, mode: str, dest: str
) -> None:
    lines = (f"Sec-Fetch-Site: {site}", f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {dest}")

    assert passes(stage, "Host: localhost:PORT", *lines, token_line(mint)) == []


def test_a_form_on_a_strange_page_does_not_pass(stage: Stage, mint: Mint) -> None:
    lines = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")

    assert send(stage, ORDERED, "Host: localhost:PORT", *lines, token_line(mint))[0] == 403
    assert (
        send(stage, ASKED, "Host: localhost:PORT", *lines)[0] == 401
    )  # a link may lead here; it carries no token


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("name", TOKENS)
def test_with_a_token_that_does_not_hold_nobody_passes(stage: Stage, mint: Mint, name: str) -> None:
    assert passes(stage, "Host: localhost:PORT", *TOKENS[name](mint)) == []


@pytest.mark.parametrize("host", ["evil.example", "[::2]", "localhost.evil.example"])
@pytest.mark.parametrize("origin", [ORIGIN, "http://evil.example", "http://localhost:PORT", ""])
def test_a_right_origin_does_not_make_up_for_a_wrong_name(
    stage: Stage, mint: Mint, host: str, origin: str
) -> None:
    lines = (f"Origin: {origin}",) if origin else ()

    assert passes(stage, f"Host: {host}", *lines, token_line(mint)) == []


def test_a_page_that_moved_its_own_name_here_is_not_of_the_same_origin(stage: Stage, mint: Mint) -> None:
    lines = ("Host: evil.example:PORT", "Origin: http://evil.example:PORT", "Sec-Fetch-Site: same-origin")

    assert send(stage, ASKED, *lines, token_line(mint))[0] == 421


def test_a_token_that_was_taken_back_or_has_ended_does_not_pass(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        gone = stage.core.do("token/issue", {"user": "ann"}, is_local=True, id="")
        old = stage.core.do("token/issue", {"user": "ann"}, is_local=True, id="")
        stage.core.do("token/revoke", {"token": gone["token"]}, is_local=True)

        assert send(stage, ASKED, "Host: localhost", f"Authorization: Bearer {gone['text']}")[0] == 401
        assert send(stage, ASKED, "Host: localhost", f"Authorization: Bearer {old['text']}")[0] == 200
        stage.core.clock.advance(timedelta(days=3650))
        assert send(stage, ASKED, "Host: localhost", f"Authorization: Bearer {old['text']}")[0] == 401


# -- tokens of another issuer ------------------------------------------------------------------------------------

FOREIGN: dict[str, Callable[[dict[str, Any], bytes], str]] = {
    "its public key as a secret": lambda claims, pem: confused(claims, pem),
    "another audience": lambda claims, _: sign(claims | {"aud": "other"}),
    "no audience": lambda claims, _: sign({name: claims[name] for name in claims if name != "aud"}),
    "another issuer": lambda claims, _: sign(claims | {"iss": "https://evil.example"}),
    "our own issuer": lambda claims, _: sign(claims | {"iss": "tokd"}),
    "a stranger's key": lambda claims, _: sign(claims, rsa.generate_private_key(65537, 2048)),
    "a key that nobody knows": lambda claims, _: sign(claims, kid="x"),
    "PS256": lambda claims, _: sign(claims, algorithm="PS256"),
    "RS512": lambda claims, _: sign(claims, algorithm="RS512"),
    "none": lambda claims, _: jwt.encode(claims, None, algorithm="none", headers={"kid": "r"}),
}  # fmt: skip


def confused(claims: dict[str, Any], pem: bytes) -> str:
    text = f"{part({'alg': 'HS256', 'kid': 'r'})}.{part(claims)}"
    return f"{text}.{mac(pem, text)}"


def sign(claims: dict[str, Any], key: Any = RSA_KEY, kid: str = "r", algorithm: str = "RS256") -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})


@pytest.fixture(scope="module")
def foreign(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The same core behind a second door, which another issuer's tokens open."""
    folder = tmp_path_factory.mktemp("jwks")
    (folder / "jwks.json").write_text(json.dumps({"keys": [RSA_JWK | {"kid": "r"}]}))
    core = stage.core
    gate = TokenGate(folder / "jwt.key", folder / "jwks.json", "https://login.example", "tokd")
    server = HttpServer(HttpSettings(port=0, version="0"), core.bus, core.clock, gate, core.deaths)
    server.start()
    yield Stage(core, server)
    assert server.stop()


@pytest.mark.parametrize("name", ["the right one", *FOREIGN])
def test_of_another_issuers_tokens_only_the_right_one_passes(foreign: Stage, name: str) -> None:
    end = int((foreign.core.clock.now() + timedelta(days=1)).timestamp())
    claims = {"iss": "https://login.example", "aud": "tokd", "sub": "ann", "exp": end}
    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = FOREIGN[name](claims, pem) if name in FOREIGN else sign(claims)

    status, _ = send(foreign, ASKED, "Host: localhost", f"Authorization: Bearer {text}")

    assert status == (401 if name in FOREIGN else 200)


def test_there_are_some_two_hundred_of_them() -> None:
    assert len(HOSTS) + len(ORIGINS) + len(PAGES) + len(TOKENS) + len(FOREIGN) > 200
