"""A secret that a worker has sealed just before a rotation of the keys is stored under the newest one."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from daemon.domain.post import State
from daemon.domain.reports import TokensRefreshed
from tests.core import Core


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        found.media.put("clip.mp4")
        yield found


def test_tokens_that_were_sealed_before_a_rotation_are_stored_under_the_newest_key(core: Core) -> None:
    core.clock.advance(timedelta(hours=23, minutes=30))
    core.vault.rotates_after = "refresh_token"

    core.sweep()

    account = core.account()
    assert account.token_version == 2
    assert core.vault.is_newest(account.access_token)
    assert core.vault.is_newest(account.refresh_token)
    assert core.vault.open("refresh_token", "ada", account.refresh_token) == "refresh-1"


def test_an_upload_address_that_was_sealed_before_a_rotation_is_stored_under_the_newest_key(
    core: Core,
) -> None:
    core.vault.rotates_after = "upload_url"

    post = core.scheduled("clip.mp4", in_s=0)
    core.run_for(30)

    assert core.post(post).state is State.PUBLISHED
    assert core.vault.rotates_after == ""
    assert core.vault.is_newest(core.attempts(post)[-1].upload_url or "")


def test_tokens_that_no_key_opens_are_stored_as_they_came(core: Core) -> None:
    access, refresh = (core.vault.seal(name, "ada", name) for name in ("access_token", "refresh_token"))
    core.vault.lose_key()

    core.bus.ask(TokensRefreshed(core.account().name, 1, access, refresh, 3600, 7200))

    assert core.account().access_token == access
