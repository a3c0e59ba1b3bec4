"""Where retained messages stand: states under state/, alerts beside them (mqtt.md section 7.1)."""

import pytest

from daemon.domain.topics import Topics


@pytest.mark.parametrize(
    ("path", "topic"),
    [
        ("account/shop", "tokd/v1/main/state/account/shop"),
        ("alert/needs_login_shop", "tokd/v1/main/alert/needs_login_shop"),
        ("daemon", "tokd/v1/main/state/daemon"),
    ],
)
def test_a_retained_message_has_its_place(path: str, topic: str) -> None:
    assert Topics("tokd", "main").state(path) == topic
