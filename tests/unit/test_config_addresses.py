"""Which addresses and hosts the settings accept."""

import pytest

from config.addresses import (
    check_address,
    check_host_pattern,
    check_prefix,
    check_redirect,
    matches_host,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://open.tiktokapis.com",
        "https://open.tiktokapis.com:8443/base",
        "http://127.0.0.1:8080",
        "http://127.9.8.7",
        "http://[::1]:8080/",
        "http://localhost:1",
    ],
)
def test_an_address_is_https_or_on_this_machine(url):
    assert check_address(url) == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("http://open.tiktokapis.com", "must be https", id="public host"),
        pytest.param("http://192.168.1.5", "must be https", id="private network"),
        pytest.param("http://0.0.0.0", "must be https", id="any address"),
        pytest.param("http://127.0.0.1.evil.example", "must be https", id="loopback as a label"),
        pytest.param("http://localhost.evil.example", "must be https", id="localhost as a label"),
        pytest.param("http://127.1", "must be https", id="shortened loopback"),
        pytest.param("https://user@a.example", "user name", id="user name"),
        pytest.param("http://127.0.0.1@evil.example", "user name", id="loopback as user name"),
        pytest.param("https://user:word@a.example", "user name", id="password"),
        pytest.param("ftp://a.example", "begin with https", id="other scheme"),
        pytest.param("a.example", "begin with https", id="no scheme"),
        pytest.param("https://", "name a host", id="no host"),
        pytest.param("https://a.example:port", "not an address", id="port in words"),
        pytest.param("https://[::1", "not an address", id="open bracket"),
        pytest.param("https://a.example\\@b", "backslashes", id="backslash"),
        pytest.param("https://a.example\n", "control characters", id="line break"),
        pytest.param("https://a.example/?a=b", "query", id="query"),
        pytest.param("https://a_b..example", "host name", id="empty label"),
    ],
)
def test_other_addresses_are_refused_with_a_reason(url, reason):
    with pytest.raises(ValueError, match=reason):
        check_address(url)


@pytest.mark.parametrize("url", ["https://a.example/callback", "http://127.0.0.1:8765/callback/"])
def test_a_redirect_address_tiktok_accepts_is_accepted(url):
    assert check_redirect(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/callback/",
        "http://[::1]:8765/",
        "http://127.0.0.1:*/",
        "https://a.example/" + "a" * 500,
    ],
)
def test_a_redirect_address_tiktok_refuses_is_refused(url):
    with pytest.raises(ValueError, match=r"must|not an address"):
        check_redirect(url)


def test_a_prefix_must_end_its_host_and_folder():
    with pytest.raises(ValueError, match='end with "/"'):
        check_prefix("https://cdn.example")


@pytest.mark.parametrize(
    "pattern", ["*", "*.com", "upload.*.com", "up*.tiktokapis.com", "a.example:80", "a.*"]
)
def test_a_star_stands_for_one_whole_label_below_a_domain(pattern):
    with pytest.raises(ValueError, match="must"):
        check_host_pattern(pattern)


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("upload.us.tiktokapis.com", True),
        ("UPLOAD.EU.tiktokapis.com", True),
        ("upload.tiktokapis.com", False),
        ("upload..tiktokapis.com", False),
        ("upload.a.b.tiktokapis.com", False),
        ("upload.us.tiktokapis.com.evil.example", False),
    ],
)
def test_a_star_matches_exactly_one_label(host, fits):
    assert matches_host("upload.*.tiktokapis.com", host) is fits
