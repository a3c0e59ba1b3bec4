"""What is read out of a page's network events, without a browser."""

from typing import Any

import pytest

from adapters.browser.network import NetworkView, covers, read_info
from adapters.browser.settings import LoginMarkers

MARKERS = LoginMarkers(
    info_paths=("/account/info/",),
    info_user_keys=("user_id_str", "user_id"),
    info_name_keys=("username",),
    info_out_names=("session_expired",),
)


@pytest.mark.parametrize(
    ("host", "is_covered"),
    [
        pytest.param("example.com", True, id="the host itself"),
        pytest.param("www.example.com", True, id="one below it"),
        pytest.param("badexample.com", False, id="one whose name ends alike"),
        pytest.param("com", False, id="one above it"),
        pytest.param("", False, id="none"),
    ],
)
def test_a_host_covers_those_below_it(host: str, is_covered: bool) -> None:
    assert covers((".example.com",), host) is is_covered


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param({"data": {"user_id_str": "7", "username": "me"}}, (True, "me"), id="a user"),
        pytest.param({"user_id": 7}, (True, None), id="a user at the top, without a name"),
        pytest.param({"data": {"user_id_str": "0", "user_id": 0}}, (None, None), id="an empty user"),
        pytest.param({"data": {"name": "session_expired"}}, (False, None), id="expired, by its name"),
        pytest.param({"message": "session_expired"}, (False, None), id="expired, by the message"),
        pytest.param({"message": "error"}, (None, None), id="another error"),
        pytest.param(["session_expired"], (None, None), id="a list"),
        pytest.param("session_expired", (None, None), id="a text"),
        pytest.param(None, (None, None), id="nothing"),
    ],
)
def test_an_info_answer_says_in_out_or_nothing(answer: Any, says: tuple[bool | None, str | None]) -> None:
    assert read_info(answer, MARKERS) == says


class SilentTab:
    """A tab whose answers have no body."""

    def call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return {"body": "<html>"}


def fed(*events: tuple[str, dict[str, Any]]) -> NetworkView:
    view = NetworkView(MARKERS, ("example.com",), "main")
    view.feed([(f"Network.{name}", params) for name, params in events], SilentTab())  # type: ignore[arg-type]
    return view


def begun(request: str, frame: str = "main") -> tuple[str, dict[str, Any]]:
    return "requestWillBeSent", {"requestId": request, "type": "Document", "frameId": frame}


def answered(request: str, frame: str = "main", status: int = 200) -> tuple[str, dict[str, Any]]:
    response = {"status": status, "url": "https://example.com/"}
    return "responseReceived", {
        "requestId": request, "type": "Document", "frameId": frame, "response": response,
    }  # fmt: skip


def failed(request: str, error: str) -> tuple[str, dict[str, Any]]:
    return "loadingFailed", {"requestId": request, "errorText": error}


def test_a_frame_in_the_page_is_not_the_page() -> None:
    assert fed(begun("1"), answered("1"), begun("2", "ad"), answered("2", "ad", 500)).page_status == 200


def test_a_page_that_is_on_its_way_has_no_status_yet() -> None:
    assert fed(begun("1"), answered("1"), begun("2")).page_status is None


def test_a_navigation_that_is_given_up_leaves_the_page_as_it_was() -> None:
    view = fed(begun("1"), answered("1"), begun("2"), failed("2", "net::ERR_ABORTED"))

    assert (view.page_status, view.load_error) == (200, None)


def test_a_page_that_cannot_be_loaded_says_why() -> None:
    assert fed(begun("1"), failed("1", "net::ERR_TIMED_OUT")).load_error == "net::ERR_TIMED_OUT"


def test_a_picture_that_cannot_be_loaded_is_no_matter() -> None:
    assert fed(begun("1"), answered("1"), failed("9", "net::ERR_TIMED_OUT")).load_error is None


def test_an_info_call_of_another_site_does_not_count() -> None:
    response = {"status": 200, "url": "https://other.test/account/info/"}

    assert (
        fed(("responseReceived", {"requestId": "3", "type": "XHR", "response": response})).info_status is None
    )


def test_an_info_call_without_a_readable_body_has_a_status_only() -> None:
    response = {"status": 200, "url": "https://www.example.com/account/info/?aid=1"}

    view = fed(
        ("responseReceived", {"requestId": "3", "type": "XHR", "response": response}),
        ("loadingFinished", {"requestId": "3", "encodedDataLength": 10}),
    )

    assert (view.info_status, view.info_login) == (200, None)
