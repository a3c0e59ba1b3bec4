"""The vault: what is sealed opens only where it belongs, and keys come only from private files."""

import base64
import os
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from adapters.vault import FernetVault, load_keys
from daemon.domain.errors import AdapterFailed, StartRefused


def new_key() -> str:
    return Fernet.generate_key().decode()


def key_file(directory: Path, *keys: str, mode: int = 0o600) -> Path:
    path = directory / "fernet-keys"
    path.write_text("\n".join(keys) + "\n")
    path.chmod(mode)
    return path


def test_what_is_sealed_opens_with_the_same_purpose_and_owner() -> None:
    vault = FernetVault([new_key()])

    sealed = vault.seal("access_token", "anna", "act.s3cret-é")

    assert vault.open("access_token", "anna", sealed) == "act.s3cret-é"


def test_the_sealed_text_shows_neither_value_nor_owner() -> None:
    sealed = FernetVault([new_key()]).seal("access_token", "anna", "act.s3cret")

    assert b"s3cret" not in base64.urlsafe_b64decode(sealed)
    assert b"anna" not in base64.urlsafe_b64decode(sealed)


@pytest.mark.parametrize(
    ("purpose", "owner"),
    [
        pytest.param("access_token", "bert", id="another owner"),
        pytest.param("refresh_token", "anna", id="another purpose"),
    ],
)
def test_a_value_copied_to_another_place_does_not_open(purpose: str, owner: str) -> None:
    vault = FernetVault([new_key()])
    sealed = vault.seal("access_token", "anna", "act.s3cret")

    with pytest.raises(AdapterFailed):
        vault.open(purpose, owner, sealed)


@pytest.mark.parametrize("sealed", ["", "garbage", "gAAAA", "é", "\ud800"])
def test_text_that_was_never_sealed_is_refused(sealed: str) -> None:
    with pytest.raises(AdapterFailed):
        FernetVault([new_key()]).open("access_token", "anna", sealed)


@pytest.mark.parametrize(
    "body", [b"not json", b"[]", b"{}", b'{"p": "t", "o": "anna"}', b'{"p":"t","o":"anna","v":1}']
)
def test_a_token_of_the_right_key_with_a_foreign_body_is_refused(body: bytes) -> None:
    key = new_key()
    sealed = Fernet(key).encrypt(body).decode()

    with pytest.raises(AdapterFailed):
        FernetVault([key]).open("t", "anna", sealed)


def test_a_refusal_reveals_neither_key_nor_value() -> None:
    key = new_key()
    sealed = FernetVault([key]).seal("access_token", "anna", "act.s3cret")

    with pytest.raises(AdapterFailed) as caught:
        FernetVault([key]).open("access_token", "bert", sealed)

    shown = f"{caught.value}{caught.value.__cause__}"
    assert "s3cret" not in shown
    assert key not in shown
    assert sealed not in shown


def test_an_old_value_opens_after_a_new_key_was_put_before_the_old_one() -> None:
    old, new = new_key(), new_key()
    sealed = FernetVault([old]).seal("access_token", "anna", "act.s3cret")

    assert FernetVault([new, old]).open("access_token", "anna", sealed) == "act.s3cret"


def test_the_newest_key_seals() -> None:
    old, new = new_key(), new_key()

    sealed = FernetVault([new, old]).seal("access_token", "anna", "act.s3cret")

    assert FernetVault([new]).open("access_token", "anna", sealed) == "act.s3cret"


def test_a_value_does_not_open_without_its_key() -> None:
    sealed = FernetVault([new_key()]).seal("access_token", "anna", "act.s3cret")

    with pytest.raises(AdapterFailed, match="bring back the old key"):
        FernetVault([new_key()]).open("access_token", "anna", sealed)


def test_the_hook_learns_every_clear_value() -> None:
    learned: list[str] = []
    vault = FernetVault([new_key()], learned.append)

    sealed = vault.seal("access_token", "anna", "act.s3cret")
    vault.open("access_token", "anna", sealed)

    assert learned == ["act.s3cret", "act.s3cret"]


@pytest.mark.parametrize(
    "keys", [[], ["short"], [new_key(), "é"]], ids=["none", "too short", "second is bad"]
)
def test_a_vault_without_good_keys_refuses_the_start(keys: list[str]) -> None:
    with pytest.raises(StartRefused):
        FernetVault(keys)


def test_keys_come_from_the_credential_before_the_file(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    first, second = new_key(), new_key()
    key_file(credentials, first, mode=0o440)  # the mode that systemd gives it
    path = key_file(tmp_path, second)

    keys, source = load_keys(path, credentials, create=False)

    assert keys == [first]
    assert source == f"systemd credential {credentials / 'fernet-keys'}"


def test_keys_come_from_the_file_where_the_credentials_lack_them(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    key = new_key()
    path = key_file(tmp_path, key)

    assert load_keys(path, credentials, create=True) == ([key], f"key file {path}")


def test_a_file_lists_keys_newest_first_with_comments(tmp_path: Path) -> None:
    new, old = new_key(), new_key()
    path = key_file(tmp_path, "# since March", new, "", old, mode=0o400)

    assert load_keys(path, None, create=False)[0] == [new, old]


def test_a_missing_file_is_made_private_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "new" / "fernet-keys"
    before = os.umask(0)
    try:
        keys, source = load_keys(path, None, create=True)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "just made" in source
    assert load_keys(path, None, create=True) == (keys, f"key file {path}")


def test_making_a_file_leaves_no_draft_behind(tmp_path: Path) -> None:
    load_keys(tmp_path / "fernet-keys", None, create=True)

    assert [each.name for each in tmp_path.iterdir()] == ["fernet-keys"]


def test_a_missing_file_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="make one"):
        load_keys(tmp_path / "fernet-keys", None, create=False)

    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606, 0o700])
def test_a_file_that_others_may_read_is_refused_with_the_command_to_run(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, new_key(), mode=mode)

    with pytest.raises(StartRefused, match=f"chmod 600 {path}"):
        load_keys(path, None, create=True)


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(key_file(tmp_path, new_key()))

    with pytest.raises(StartRefused, match="symbolic link"):
        load_keys(link, None, create=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, new_key())
    os.chown(path, 12345, -1)

    with pytest.raises(StartRefused, match=f"chown {os.geteuid()} {path}"):
        load_keys(path, None, create=True)


def test_a_directory_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)

    for path in (tmp_path, pipe):
        with pytest.raises(StartRefused, match="not a regular file"):
            load_keys(path, None, create=True)


@pytest.mark.parametrize("text", ["", "# nothing\n", "swordfish\n", "schlüssel\n"])
def test_a_file_without_good_keys_is_refused_and_its_text_not_shown(tmp_path: Path, text: str) -> None:
    path = key_file(tmp_path, text)

    with pytest.raises(StartRefused) as caught:
        load_keys(path, None, create=True)

    assert "swordfish" not in str(caught.value)
    assert "schl" not in str(caught.value)
