"""What a clone leaves out, whose lock a SingletonLock is, and which keyring can be reached: rules without a browser."""

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.profiles.cloning import is_skipped
from adapters.profiles.cookies import is_bus_reachable
from adapters.profiles.in_use import parse_lock

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


def listening(path: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.bind(path)
    found.listen()
    return found


def test_a_bus_is_found_by_its_address(tmp_path: Path) -> None:
    with listening(f"{tmp_path}/my bus"):
        assert is_bus_reachable({"DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/my%20bus,guid=1f"})
        assert is_bus_reachable(
            {"DBUS_SESSION_BUS_ADDRESS": f"unix:path=/nowhere;unix:guid=1f,path={tmp_path}/my bus"}
        )


def test_a_bus_is_found_in_the_runtime_folder_when_no_address_is_given(tmp_path: Path) -> None:
    with listening(f"{tmp_path}/bus"):
        assert is_bus_reachable({"XDG_RUNTIME_DIR": str(tmp_path)})


def test_an_abstract_bus_is_found(tmp_path: Path) -> None:
    name = f"{tmp_path}-bus"
    with listening(f"\0{name}"):
        assert is_bus_reachable({"DBUS_SESSION_BUS_ADDRESS": f"unix:abstract={name}"})


@pytest.mark.parametrize(
    "address",
    ["unix:path=/nowhere/bus", "unix:abstract=tokd-nobody", "unix:", "autolaunch:", "disabled:", ";"],
)
def test_a_bus_that_takes_no_connection_is_not_reachable(address: str) -> None:
    assert not is_bus_reachable({"DBUS_SESSION_BUS_ADDRESS": address})


def test_a_socket_that_nobody_listens_on_any_more_is_no_bus(tmp_path: Path) -> None:
    listening(f"{tmp_path}/bus").close()

    assert not is_bus_reachable({"XDG_RUNTIME_DIR": str(tmp_path)})


def test_without_a_desktop_there_is_no_bus() -> None:
    assert not is_bus_reachable({})
