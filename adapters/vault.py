"""Secrets at rest: Fernet, with purpose and owner bound into what is sealed, and keys that can be rotated."""

import errno
import hashlib
import json
import os
import shlex
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from daemon.domain.errors import AdapterFailed, StartRefused

CREDENTIAL = "fernet-keys"
_MODES = (0o600, 0o400)
_MOST_BYTES = 64 * 1024  # more than a thousand keys
_RECIPE = "head -c32 /dev/urandom | base64 | tr +/ -_"


class FernetVault:
    """Seals with the newest key, opens with any (daemon.ports.Vault).

    `keys` come newest first. `on_clear` is told every clear value that passes through, so that whoever
    keeps logs clean knows the live secrets. Raises StartRefused for keys that are no keys.
    """

    def __init__(
        self, keys: Sequence[str], on_clear: Callable[[str], None] | None = None,
        source: Callable[[], Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        self._source = source
        try:
            self._take(keys)
        except ValueError:
            # `from None`: the library's message may carry a piece of the key.
            raise StartRefused(
                f"the vault got {len(keys)} keys, and needs one or more, each 32 bytes in url-safe base64"
            ) from None
        self._on_clear = on_clear

    def _take(self, keys: Sequence[str]) -> None:
        fernets = [Fernet(key) for key in keys]
        self._fernet, self._newest = MultiFernet(fernets), fernets[0] if fernets else None

    def read_keys(self) -> None:
        """Read the keys anew. Raises StartRefused where they cannot be read; the old ones stay then."""
        if self._source is not None:
            self._take(self._source())

    def is_newest(self, sealed: str) -> bool:
        """Tell whether this was sealed with the newest key."""
        try:
            self._newest.decrypt(sealed) if self._newest else None
        except InvalidToken:
            return False
        return True

    def seal(self, purpose: str, owner: str, clear: str) -> str:
        """Return text that only `open` with the same purpose and owner turns back."""
        if self._on_clear is not None:
            self._on_clear(clear)
        body = json.dumps({"p": purpose, "o": owner, "v": clear}).encode()
        return self._fernet.encrypt(body).decode("ascii")

    def open(self, purpose: str, owner: str, sealed: str) -> str:
        """Return the clear text. Raises AdapterFailed for a wrong key, purpose or owner."""
        clear = self._clear(purpose, owner, sealed)
        if clear is None:
            raise AdapterFailed(
                f"a sealed value ({purpose}) could not be opened: its key is not among the vault's keys, "
                "or it belongs elsewhere; bring back the old key, or link the account again"
            )
        if self._on_clear is not None:
            self._on_clear(clear)
        return clear

    def _clear(self, purpose: str, owner: str, sealed: str) -> str | None:
        try:
            body = json.loads(self._fernet.decrypt(sealed))
        except (InvalidToken, ValueError):
            return None
        # Fernet binds no context: without this, a token copied into another account's row would work there.
        if not isinstance(body, dict) or (body.get("p"), body.get("o")) != (purpose, owner):
            return None
        value = body.get("v")
        return value if isinstance(value, str) else None


def key_id(key: str) -> str:
    """Return a key's name: the beginning of its hash, from which nobody can tell the key."""
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def add_key(path: Path) -> str:
    """Put a new key before the others in the file, at once or not at all; return its name. Raises StartRefused."""
    keys = _keys_in(_require(path), path)
    fresh = Fernet.generate_key().decode("ascii")
    _replace(path, [fresh, *keys])
    return key_id(fresh)


def prune_keys(path: Path) -> list[str]:
    """Keep the newest key of the file only; return the names of the others. Raises StartRefused.

    Call it when nothing is sealed with them any more: what is can never be opened again.
    """
    newest, *old = _keys_in(_require(path), path)
    if old:
        _replace(path, [newest])
    return [key_id(key) for key in old]


def _require(path: Path) -> str:
    text = _read_private(path)
    if text is None:
        raise StartRefused(f"there is no key file {path}; the first start of tokd makes one")
    return text


def _replace(path: Path, keys: Sequence[str]) -> None:
    """Write the keys beside the file and rename: whoever reads it finds the old ones or the new ones, whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                os.fchmod(fd, 0o600)  # whatever the umask
                file.write("".join(f"{key}\n" for key in keys).encode("ascii"))
                file.flush()
                os.fsync(fd)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise StartRefused(f"the key file {path} cannot be written: {_reason(error)}") from error


def load_keys(path: Path, credentials_dir: Path | None, *, create: bool) -> tuple[list[str], str]:
    """Return the keys, newest first, and a sentence that says where they came from.

    A systemd credential `fernet-keys` goes before the file. The file is made, with one new key, where it is
    missing and `create` allows it. Raises StartRefused, with the command that mends it.
    """
    if credentials_dir is not None and (credentials_dir / CREDENTIAL).is_file():
        credential = credentials_dir / CREDENTIAL
        try:
            # systemd owns this file and its rights: nothing to check.
            return _keys_in(credential.read_text("ascii"), credential), f"systemd credential {credential}"
        except (OSError, ValueError) as error:
            raise StartRefused(f"the key credential {credential} cannot be read: {_reason(error)}") from None
    made = ""
    text = _read_private(path)
    if text is None and create:
        _make(path)
        text = _read_private(path)
        made = " (just made: keep a copy of it, but not beside the database's backups)"
    if text is None:
        raise StartRefused(
            f"there is no key file {path}; make one: (umask 077; {_RECIPE} > {shlex.quote(str(path))})"
        )
    return _keys_in(text, path), f"key file {path}{made}"


def _keys_in(text: str, source: Path) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    keys = [line for line in lines if line and not line.startswith("#")]
    for number, key in enumerate(keys, 1):
        try:
            Fernet(key)
        except ValueError:
            raise StartRefused(
                f"key {number} in {source} is not 32 bytes in url-safe base64; make one: {_RECIPE}"
            ) from None
    if not keys:
        raise StartRefused(f"{source} has no key in it; write one key to a line, the newest first: {_RECIPE}")
    return keys


def _read_private(path: Path) -> str | None:
    """Return the file's text, None where there is no file. The open file is checked, not its name."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StartRefused(
                f"the key file {path} is a symbolic link; name the file itself in the configuration"
            ) from None
        raise StartRefused(f"the key file {path} cannot be opened: {_reason(error)}") from None
    try:
        _check_private(path, os.fstat(fd))
        return os.read(fd, _MOST_BYTES).decode("ascii")
    except (OSError, ValueError) as error:
        raise StartRefused(f"the key file {path} cannot be read: {_reason(error)}") from None
    finally:
        os.close(fd)


def _check_private(path: Path, status: os.stat_result) -> None:
    quoted = shlex.quote(str(path))
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise StartRefused(f"the key file {path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise StartRefused(f"the key file {path} belongs to another user: chown {os.geteuid()} {quoted}")
    if mode not in _MODES:
        raise StartRefused(
            f"the key file {path} has mode {mode:04o} and must be for its owner only: chmod 600 {quoted}"
        )


def _make(path: Path) -> None:
    """Make the file with one new key, whole or not at all; leave one that somebody else has just made."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
                os.fchmod(fd, 0o600)  # whatever the umask
                file.write(Fernet.generate_key() + b"\n")
                file.flush()
                os.fsync(fd)
            # Not a rename: that would replace a key under which something may be sealed already.
            os.link(draft, path)
        finally:
            draft.unlink()
        _sync_directory(path.parent)
    except FileExistsError:
        return
    except OSError as error:
        raise StartRefused(f"the key file {path} cannot be made: {_reason(error)}") from error


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _reason(error: OSError | ValueError) -> str:
    """Return why, without any of the content (a decoding error shows bytes of it)."""
    return error.strerror or "unknown" if isinstance(error, OSError) else "it is not plain ASCII text"
