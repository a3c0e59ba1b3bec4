"""Which switches a person may hand to the browser, and which would undo what a session promises."""

import pytest
from pydantic import ValidationError

from config.session_section import SessionSettings


@pytest.mark.parametrize(
    ("switch", "why"),
    [
        ("--user-data-dir=/x", "chooses the profile"),
        ("--profile-directory=Default", "chooses the profile"),
        ("--incognito", "chooses the profile"),
        ("--Guest", "chooses the profile"),
        ("--password-store=basic", "session.password_store"),
        ("--PASSWORD-STORE=basic", "session.password_store"),
        ("--no-sandbox", "breaks out"),
        ("--disable-setuid-sandbox", "breaks out"),
        ("--disable-seccomp-filter-sandbox", "breaks out"),
        ("--disable-namespace-sandbox", "breaks out"),
        ("--single-process", "breaks out"),
        ("--no-zygote", "breaks out"),
        ("--remote-debugging-port=9222", "debugging port"),
        ("--remote-debugging-pipe", "debugging port"),
        ("--remote-allow-origins=*", "debugging port"),
        ("--disable-web-security", "every page"),
        ("--proxy-server=http://127.0.0.1:1", "session.proxy"),
        ("--tokd-session=1", "knows its own browsers"),
        ("--disable-gpu-sandbox", "breaks out"),
        ("--disable-site-isolation-trials", "breaks out"),
        ("--renderer-cmd-prefix=/x", "breaks out"),
        ("--ignore-certificate-errors", "pass for TikTok"),
        ("--ignore-certificate-errors-spki-list=x", "pass for TikTok"),
        ("--allow-file-access-from-files", "read your files"),
        ("--ssl-key-log-file=/x", "written to a file"),
        ("--log-net-log=/x", "written to a file"),
        ("--disable-features=Translate,IsolateOrigins,site-per-process", "keeps pages apart"),
        ("--Disable-Features=NetworkServiceSandbox", "in their sandbox"),
    ],
)
def test_a_switch_that_undoes_safety_is_refused_with_the_reason(switch: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why) as caught:
        SessionSettings(browser_args=(switch,))

    assert switch.partition("=")[0].lower() in str(caught.value).lower()


@pytest.mark.parametrize("name", ["headless.lan", "slang.example", "my-headless-proxy"])
def test_a_proxy_that_the_driver_would_take_for_a_switch_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="would go without the proxy"):
        SessionSettings(proxy=f"socks5://{name}:1080")


@pytest.mark.parametrize(
    "switch", ["mute-audio", "-x", "--headless", "--headless=old", "--lang=de", "--", "-- "]
)
def test_what_is_no_switch_or_a_setting_is_refused(switch: str) -> None:
    with pytest.raises(ValidationError, match="must be switches"):
        SessionSettings(browser_args=(switch,))


@pytest.mark.parametrize(
    "switch",
    [
        "--mute-audio",
        "--load-extension=/x",
        "--no-proxy-server",
        "--force-dark-mode",
        "--disable-features=Translate",
    ],
)
def test_any_other_switch_is_the_persons_choice(switch: str) -> None:
    assert SessionSettings(browser_args=(switch,)).browser_args == (switch,)
