"""Tokens of HTTP: signed with tokd's own key (HS256), or by another issuer with the keys of a JWKS file."""

import base64
import json
import os
import secrets
import shlex
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import jwt
from jwt import PyJWK, PyJWTError
from jwt.types import Options

from daemon.domain.access import Claims
from daemon.domain.errors import Code, Rejected, StartRefused
from daemon.domain.ids import NAME

REFUSAL = "a valid bearer token is needed"
ISSUER = "tokd"
KEY_BYTES = 32
_MOST_BYTES = 256 * 1024
_OWN = "HS256"
_PARTS = 3
# A key works with one algorithm only: whoever has the public key must not be able to sign with it as a secret.
_ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}


@dataclass(frozen=True)
class _Key:
    """A key and the one algorithm that it is for."""

    name: str | None
    algorithm: str
    secret: Any


class TokenGate:
    """Implements ports.Gate. The keys are read, and tokd's own is made, when they are first needed."""

    def __init__(
        self, key_file: Path, jwks_file: Path | None = None, issuer: str | None = None, audience: str | None = None
    ) -> None:  # fmt: skip
        self._key_file = key_file
        self._jwks_file = jwks_file
        self._issuer = issuer
        self._audience = audience
        self._keys: Sequence[_Key] = ()

    def open(self) -> None:
        """Read the keys. Raises StartRefused, with what to do about it."""
        if self._jwks_file is not None:
            self._keys = _foreign_keys(self._jwks_file)
        else:
            self._keys = (_Key(None, _OWN, _own_key(self._key_file)),)

    def issue(self, user: str, token_id: str, now: datetime, expires_at: datetime) -> str:
        """Return a token's text. Raises Rejected(not_configured) where tokens are another issuer's."""
        if self._jwks_file is not None:
            raise Rejected(
                Code.NOT_CONFIGURED, f"tokens come from the issuer of {self._jwks_file} (http.jwks_file)"
            )
        claims = {
            "iss": ISSUER,
            "sub": user,
            "jti": token_id,
            "iat": _seconds(now),
            "exp": _seconds(expires_at),
        }
        return jwt.encode(claims, self._ready()[0].secret, algorithm=_OWN)

    def check(self, text: str, now: datetime) -> Claims:
        """Return what a token says. Raises Rejected(unauthorized), the same for every reason."""
        try:
            return self._claims(text, now)
        except (PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            _refuse()

    def _claims(self, text: str, now: datetime) -> Claims:
        _check_form(text)
        key = self._key_for(jwt.get_unverified_header(text))
        is_own = self._jwks_file is None
        options: Options = {
            "require": ["exp", "sub", *(["jti"] if is_own else [])], "verify_aud": self._audience is not None,
            # the clock is passed in
            "verify_exp": False, "verify_iat": False, "verify_nbf": False,
        }  # fmt: skip
        found = jwt.decode(
            text, key.secret, algorithms=[key.algorithm], issuer=ISSUER if is_own else self._issuer,
            audience=self._audience, options=options,
        )  # fmt: skip
        expires_at = _instant(found["exp"])
        if expires_at <= now or ("nbf" in found and _instant(found["nbf"]) > now):
            raise ValueError("not now")
        user = found["sub"]
        if not isinstance(user, str) or not NAME.fullmatch(user):
            raise ValueError("no user")
        return Claims(user=user, token_id=str(found["jti"]) if is_own else None, expires_at=expires_at)

    def _key_for(self, header: Mapping[str, Any]) -> _Key:
        """Return the key that the token names; without a name, the only one there is."""
        keys, name = self._ready(), header.get("kid")
        fitting = [key for key in keys if name is None or key.name is None or key.name == name]
        if len(fitting) != 1 or fitting[0].algorithm != header.get("alg"):
            raise ValueError("no such key")
        return fitting[0]

    def _ready(self) -> Sequence[_Key]:
        if not self._keys:
            try:
                self.open()
            except StartRefused as error:
                raise Rejected(Code.NOT_CONFIGURED, str(error)) from error
        return self._keys


def _refuse() -> NoReturn:
    raise Rejected(Code.UNAUTHORIZED, REFUSAL) from None


def _check_form(text: str) -> None:
    """Raise ValueError for a text that is read like a token and is not the one that was signed, letter by letter.

    base64 readers pass over letters that do not count and over the last letter's spare bits.
    """
    parts = text.split(".")
    if len(parts) != _PARTS or any(
        base64.urlsafe_b64encode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).rstrip(b"=").decode() != part
        for part in parts
    ):  # fmt: skip
        raise ValueError("not in the one form that a token has")


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())


def _instant(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("no time")
    return datetime.fromtimestamp(value, UTC)


def _own_key(path: Path) -> bytes:
    """Return tokd's own key; it is made where there is none. Raises StartRefused."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
        return _read_private(path)
    except OSError as error:
        raise StartRefused(f"the token key {path} cannot be used: {error.strerror or error}") from error


def _make(path: Path) -> None:
    """Make the file, whole or not at all; leave the one that is there, because tokens are signed with it."""
    if path.exists():
        return
    # Another thread or process may be at it, too: the first one's key is everybody's, see the link.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            os.fchmod(fd, 0o600)  # whatever the umask
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(fd)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _read_private(path: Path) -> bytes:
    """Return the key. The open file is checked, not its name. Raises StartRefused, OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StartRefused(f"the token key {path} is not a regular file")
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise StartRefused(
                f"the token key {path} must be for its owner only: chmod 600 {shlex.quote(str(path))}"
            )
        key = os.read(fd, KEY_BYTES + 1)
    finally:
        os.close(fd)
    if len(key) != KEY_BYTES:
        raise StartRefused(
            f"the token key {path} is damaged: it has not {KEY_BYTES} bytes. Remove it, and issue new tokens"
        )
    return key


def _foreign_keys(path: Path) -> tuple[_Key, ...]:
    """Return the keys of a JWKS file. Raises StartRefused."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        keys = tuple(_foreign_key(entry) for entry in found["keys"] if entry.get("use", "sig") == "sig")
    except OSError as error:
        raise StartRefused(f"http.jwks_file {path} cannot be read: {error.strerror}") from error
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        # `from None`: the cause may quote what is in the file.
        raise StartRefused(
            f"http.jwks_file {path} must hold public keys for RS256 or ES256 only, as a JSON Web Key Set"
        ) from None
    if not keys:
        raise StartRefused(f"http.jwks_file {path} holds no key to check a signature with")
    if len({key.name for key in keys}) < len(keys):
        raise StartRefused(f"every key of http.jwks_file {path} needs a kid of its own")
    return keys


def _foreign_key(entry: Mapping[str, Any]) -> _Key:
    algorithm = _ALGORITHMS[entry["kty"], entry.get("crv")]
    if entry.get("alg", algorithm) != algorithm or "d" in entry:
        raise ValueError("another algorithm, or a private key")
    return _Key(entry.get("kid"), algorithm, PyJWK.from_dict(dict(entry), algorithm=algorithm).key)
