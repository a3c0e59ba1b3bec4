"""The section of HTTP: off by default, and mistakes in who may call are found when it is loaded."""

import pytest

from config.load import ConfigError, load


def test_http_is_off_by_default() -> None:
    assert load(None, environ={}).http.port is None


@pytest.mark.parametrize("host", ["tokd.example", "tokd", "10.0.0.7", "fd00::7"])
def test_a_name_that_may_be_called_is_taken(host: str) -> None:
    assert load(None, {"http.allowed_hosts": host}, {}).http.allowed_hosts == (host,)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("http.port", "70000"),
        ("http.host", "http://127.0.0.1"),
        ("http.allowed_hosts", "https://tokd.example"),
        ("http.allowed_hosts", "tokd.example:8080"),
        ("http.allowed_hosts", "[::1]"),
        ("http.allowed_hosts", "*"),
        ("http.cors_origins", "*"),
        ("http.cors_origins", "null"),
        ("http.cors_origins", "https://app.example/"),
        ("http.cors_origins", "http://app.example"),
        ("http.cors_origins", "https://App.example"),
        ("http.jwt_issuer", "https://login.example"),
        ("http.header_timeout_s", "0"),
        ("http.body_max", "65537"),
    ],
)
def test_a_mistake_is_named(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="http"):
        load(None, {key: value}, {})
