"""Which addresses tokd may fetch: hosts of the list and nothing in disguise; and which networks it may connect to."""

import pytest

from adapters.media.hosts import Hosts
from adapters.media.networks import is_public
from config.media_section import MediaSettings
from daemon.domain.errors import Code, Rejected
from tests.hostile_addresses import ALLOWED, HOSTILE, PRIVATE_ADDRESSES, PUBLIC_ADDRESSES

HOSTS = Hosts(ALLOWED, ("nas.lan", "backup.lan:8443", "192.168.1.5:9000"))


def problem(url: str, hosts: Hosts = HOSTS) -> str:
    with pytest.raises(Rejected) as caught:
        hosts.target(url, "args.url")
    assert (caught.value.code, caught.value.field) == (Code.MEDIA_REJECTED, "args.url")
    assert "geheim" not in str(caught.value.as_dict())
    return caught.value.problems[0].code


@pytest.mark.parametrize("url", HOSTILE)
def test_a_host_in_disguise_is_refused(url: str) -> None:
    assert problem(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://files.example/a.mp4?sig=geheim", "files.example", 443),
        ("https://files.example:443/a.mp4", "files.example", 443),
        ("HTTPS://FILES.Example/a.mp4", "files.example", 443),
        ("https://eu.files.example/a.mp4", "eu.files.example", 443),
        ("https://bücher.files.example/a.mp4", "xn--bcher-kva.files.example", 443),
        ("https://nas.lan/a.mp4", "nas.lan", 443),
        ("https://backup.lan:8443/a.mp4", "backup.lan", 8443),
        ("https://192.168.1.5:9000/a.mp4", "192.168.1.5", 9000),
    ],
)
def test_a_host_of_the_list_is_taken(url: str, host: str, port: int) -> None:
    target = HOSTS.target(url, "args.url")

    assert (target.host, target.port) == (host, port)
    assert target.is_private == (
        host not in {"files.example", "eu.files.example", "xn--bcher-kva.files.example"}
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://files.example/a", "url_scheme"),
        ("https://u:p@files.example/a", "url_user"),
        ("https://files.example/a#t", "url_fragment"),
        ("https://files.example:8443/a", "url_port"),
        ("https://evil.example/a", "url_host"),
        ("https://backup.lan/a", "url_host"),
        ("https://sub.nas.lan/a", "url_host"),
        ("https://files.example/a b", "url_malformed"),
    ],
)
def test_the_refusal_says_which_rule_is_broken(url: str, expected: str) -> None:
    assert problem(url) == expected


def test_the_refusal_of_a_host_says_what_is_allowed_and_how_to_add_one() -> None:
    with pytest.raises(Rejected) as caught:
        HOSTS.target("https://evil.example/a?sig=geheim", "args.url")

    assert "files.example" in caught.value.message
    assert "media.allowed_hosts" in caught.value.problems[0].hint


def test_what_is_shown_of_an_address_is_its_host_and_its_last_part() -> None:
    assert HOSTS.target("https://files.example/u/ann/a.mp4?sig=geheim", "x").shown == "files.example/…/a.mp4"


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_an_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_a_public_address_is_connected_to(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "name", ["https://nas.lan", "nas.lan:0", "nas.lan:x", "nas.lan/a", "::1", "nas.lan:70000"]
)
def test_a_private_host_that_is_none_is_refused_by_the_settings(name: str) -> None:
    with pytest.raises(ValueError, match="host"):
        MediaSettings(private_hosts=(name,))
