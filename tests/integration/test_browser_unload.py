"""A page that asks whether it may be left holds up a login's browser, and must not cost the login. It takes its time."""

import contextlib
import http.server
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.domain.session import EndReason, SessionKind
from tests.e2e.session_stage import shows, type_text
from tests.integration import browser_stage
from tests.waiting import wait_until

PAGE = b"""<title>Half a form</title><input autofocus>
<script>addEventListener('beforeunload', event => { event.preventDefault(); event.returnValue = 'x' })</script>"""


@pytest.fixture
def form() -> Iterator[str]:
    """A page that logs whoever comes in, and does not like to be left."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Set-Cookie", "sid=abc123; Max-Age=1000000")
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_a_login_whose_page_does_not_want_to_be_left_keeps_its_newest_cookies(form: str) -> None:
    with browser_stage.screen() as screen, browser_stage.set_stage(form, screen) as stage:
        session = stage.open(form, kind=SessionKind.LOGIN)
        session.opened()
        wait_until(lambda: shows(screen, "Half a form"))
        type_text(screen, "Tab", "half a word")  # only a page that was used may ask

        session.handle.close(EndReason.TIMEOUT)

        ended = session.ended(60)
        assert ended.exit_status == -9, "it was held up"
        assert ended.error is not None
        assert "whether to leave it" in ended.error.message
        assert names_in(Path(stage.places[-1].user_data_dir, "Default", "Cookies")) == ["sid"]


def names_in(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM cookies")]
