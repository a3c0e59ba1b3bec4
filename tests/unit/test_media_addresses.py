"""Addresses: the platform is pointed only at what stands under a verified prefix, in any spelling."""

import threading

import pytest

from adapters.media import MediaLibrary
from adapters.scheduler import SystemClock
from daemon.domain.errors import Code, Rejected

PREFIXES = (
    "https://cdn.example.com/v/",
    "https://Other.example.com:8443/a",
    "http://127.0.0.1:9000/",
    "http://plain.example.com/",
    "https://203.0.113.7/",
)


def check(url: str, prefixes: tuple[str, ...] = PREFIXES) -> None:
    library = MediaLibrary((), prefixes, clock=SystemClock(), stopping=threading.Event())
    library.check_url(url, "args.photos.0")


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com/v/clip.mp4",
        "https://cdn.example.com:443/v/clip.mp4",
        "https://CDN.example.COM/v/clip.mp4",
        "HTTPS://cdn.example.com/v/clip.mp4",
        "https://cdn.example.com/v/day%20one/clip.mp4?sig=a%2Fb&x=../y",
        "https://cdn.example.com/v/..clip..mp4",
        "https://other.example.com:8443/a/clip.mp4",
        "http://127.0.0.1:9000/clip.mp4",
    ],
)
def test_an_address_under_a_prefix_is_taken(url: str) -> None:
    check(url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        pytest.param("http://cdn.example.com/v/a", "url_prefix", id="not encrypted"),
        pytest.param("http://plain.example.com/a", "url_prefix", id="not encrypted, though configured"),
        pytest.param("ftp://cdn.example.com/v/a", "url_prefix", id="another scheme"),
        pytest.param("file:///etc/passwd", "url_prefix", id="a file"),
        pytest.param("//cdn.example.com/v/a", "url_prefix", id="no scheme"),
        pytest.param("", "url_characters", id="nothing"),
        pytest.param("https://cdn.example.com/w/a", "url_prefix", id="another path"),
        pytest.param("https://cdn.example.com/V/a", "url_prefix", id="a path is case-sensitive"),
        pytest.param("https://cdn.example.com/v", "url_prefix", id="the prefix without its end"),
        pytest.param(
            "https://other.example.com:8443/a-evil/x", "url_prefix", id="a folder that begins alike"
        ),
        pytest.param("https://cdn.example.com.evil.com/v/a", "url_prefix", id="a host that begins alike"),
        pytest.param("https://evil-cdn.example.com/v/a", "url_prefix", id="a host that ends alike"),
        pytest.param("https://cdn.example.com./v/a", "url_prefix", id="a host with a dot"),
        pytest.param("https://cdn.example.com:8443/v/a", "url_prefix", id="another port"),
        pytest.param("https://127.0.0.1:9000/a", "url_prefix", id="another scheme on a loopback"),
        pytest.param("https://203.0.113.7/a", "url_prefix", id="an IP address, though configured"),
        pytest.param("https://cdn.example.com:x/v/a", "url_malformed", id="no port"),
        pytest.param("https://cdn.example.com:99999/v/a", "url_malformed", id="a port that is none"),
        pytest.param("https://[cdn.example.com/v/a", "url_malformed", id="half an IPv6 host"),
        pytest.param("https://user@cdn.example.com/v/a", "url_user", id="a user"),
        pytest.param("https://user:pw@cdn.example.com/v/a", "url_user", id="a password"),
        pytest.param("https://@cdn.example.com/v/a", "url_user", id="an empty user"),
        pytest.param("https://cdn.example.com/v/@evil.com\\@x", "url_characters", id="a backslash"),
        pytest.param("https://cdn.example.com/v/a#t", "url_fragment", id="a fragment"),
        pytest.param("https://cdn.example.com/v/a#", "url_fragment", id="an empty fragment"),
        pytest.param("https://cdn.example.com/v/../a", "url_dots", id="dots"),
        pytest.param("https://cdn.example.com/v/./a", "url_dots", id="a dot"),
        pytest.param("https://cdn.example.com/v/%2e%2E/a", "url_dots", id="encoded dots"),
        pytest.param("https://cdn.example.com/v/.%2e%2fa", "url_dots", id="encoded dots and slash"),
        pytest.param("https://cdn.example.com/v/%252e%252e/a", "url_dots", id="dots encoded twice"),
        pytest.param("https://cdn.example.com/v/%25252525252e./a", "url_dots", id="dots encoded without end"),
        pytest.param("https://cdn.example.com/v/..%5ca", "url_dots", id="encoded backslash"),
        pytest.param("https://cdn.example.com/v/..;x/a", "url_dots", id="dots with a parameter"),
        pytest.param("https://cdn.example.com/v/a%0d%0ab", "url_dots", id="encoded line end"),
        pytest.param("https://cdn.example.com/v/a%00", "url_dots", id="encoded NUL"),
        pytest.param("https://cdn.example.com/v/a\nb", "url_characters", id="line end"),
        pytest.param("https://cdn.example.com/v/a b", "url_characters", id="space"),
        pytest.param("https://cdn.example.com/v/a\0", "url_characters", id="NUL"),
        pytest.param("https://cdn.example.com/v/\u00fc", "url_characters", id="not ASCII"),
        pytest.param("https://cdn.ex\u0430mple.com/v/a", "url_characters", id="a letter that looks alike"),
    ],
)
def test_an_address_elsewhere_or_in_disguise_is_refused(url: str, problem: str) -> None:
    with pytest.raises(Rejected) as caught:
        check(url)

    assert caught.value.code is Code.MEDIA_REJECTED
    assert caught.value.field == "args.photos.0"
    assert [each.code for each in caught.value.problems] == [problem]


@pytest.mark.parametrize("host", ["2130706433", "0x7f.0.0.1", "127.1", "[::ffff:7f00:1]", "10.0.0.1"])
def test_a_number_as_host_is_refused_even_if_configured(host: str) -> None:
    with pytest.raises(Rejected):
        check(f"https://{host}/v/a", (f"https://{host}/v/",))


def test_the_refusal_says_how_to_configure_a_prefix() -> None:
    with pytest.raises(Rejected) as caught:
        check("https://new.example.com/a", ())

    assert "media.verified_prefixes" in caught.value.problems[0].hint
    assert "none is configured" in caught.value.message


def test_without_a_loopback_prefix_http_is_named_as_the_fault() -> None:
    with pytest.raises(Rejected) as caught:
        check("http://cdn.example.com/v/a", PREFIXES[:1])

    assert caught.value.problems[0].code == "url_scheme"


def test_the_query_of_a_refused_address_is_not_repeated() -> None:
    with pytest.raises(Rejected) as caught:
        check("https://elsewhere.example.com/a?token=s3cret")

    assert "s3cret" not in str(caught.value.as_dict())


@pytest.mark.parametrize(
    "prefix", ["", "cdn.example.com/v/", "https://", "https://[x/", "https://cdn.example.com:x/"]
)
def test_a_prefix_that_is_no_address_lets_nothing_through(prefix: str) -> None:
    with pytest.raises(Rejected):
        check("https://cdn.example.com/v/a", (prefix,))
