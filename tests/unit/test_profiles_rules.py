"""What a clone leaves out, whose lock a SingletonLock is, and which profile a browser names: rules without a browser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.profiles.cloning import is_skipped
from adapters.profiles.in_use import dirs_of, parse_lock

PARTS = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30)
PRECIOUS = st.sampled_from(["Cookies", "Cookies-journal", "Preferences", "Secure Preferences", "Local State"])


@given(
    host=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    pid=st.integers(1, 2**31 - 1),
)
def test_a_lock_names_its_host_and_pid_whatever_the_host_is_called(host: str, pid: int) -> None:
    assert parse_lock(f"{host}-{pid}") == (host, pid)


@given(st.text())
def test_reading_a_lock_never_fails(target: str) -> None:
    found = parse_lock(target)

    assert found is None or f"{found[0]}-" in target


@pytest.mark.parametrize(
    "target", ["", "-", "host", "host-", "-1", "host-0", "host-x", "host-99999999999", "a-1 "]
)
def test_what_is_no_lock_is_told_as_none(target: str) -> None:
    assert parse_lock(target) is None


@given(name=PRECIOUS, in_profile=st.booleans())
def test_nothing_precious_is_left_out_at_the_top(name: str, in_profile: bool) -> None:
    assert not is_skipped((name,), in_profile=in_profile)


@given(name=PRECIOUS, folder=PARTS, in_profile=st.booleans())
def test_nothing_precious_is_left_out_of_a_profile(name: str, folder: str, in_profile: bool) -> None:
    assert not is_skipped((folder, name), in_profile=in_profile)


@given(parts=st.lists(PARTS, min_size=3, max_size=5))
def test_nothing_deep_down_is_left_out(parts: list[str]) -> None:
    assert not is_skipped(tuple(parts), in_profile=True)


@pytest.mark.parametrize(
    "name", ["SingletonLock", "SingletonSocket", "SingletonCookie", "DevToolsActivePort", "lockfile"]
)
def test_a_running_browsers_marks_are_left_out(name: str) -> None:
    assert is_skipped((name,), in_profile=False)


@pytest.mark.parametrize(
    "name", ["Cache", "Code Cache", "GPUCache", "DawnWebGPUCache", "Service Worker", "Sessions"]
)
def test_a_cache_is_left_out_of_a_profile_and_of_nothing_else(name: str) -> None:
    assert is_skipped(("Default", name), in_profile=True)
    assert not is_skipped(("Extension Data", name), in_profile=False)


def test_the_profile_is_read_from_arguments_with_ends_between_them() -> None:
    assert dirs_of("chromium\0--user-data-dir=/a b\0--x\0--user-data-dir=/c\0https://a.test/\0") == [
        "/a b",
        "/c",
    ]
    assert dirs_of("chromium\0--user-data-dir\0/a\0") == []
    assert dirs_of("") == []


def test_the_profile_is_read_from_arguments_that_chromium_has_joined() -> None:
    assert "/a b" in dirs_of("/usr/bin/chromium --x=1 --user-data-dir=/a b --y=2\0\0\0")
    assert "/a" in dirs_of("/usr/bin/chromium --user-data-dir=/a about:blank")
    assert dirs_of("/usr/bin/chromium --x=y --z\0") == []
