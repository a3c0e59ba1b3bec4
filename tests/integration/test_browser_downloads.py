"""Pages that let files be downloaded, in a real Chromium: nothing is written while nobody is there to want it."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from daemon.domain.session import SessionKind
from tests.integration import browser_stage
from tests.integration.browser_stage import STATE, Screen, Stage
from tests.waiting import wait_until

NAME = "unwanted.bin"
_PAGE = """<!doctype html><title>A page</title><body><a id=a href=/file download>x</a>{state}<script>
fetch('/go').then(() => {{
  a.click();
  document.body.appendChild(Object.assign(document.createElement('iframe'), {{src: '/file'}}));
  setTimeout(() => fetch('/done'), 700);
}});
</script>"""


class Server(http.server.ThreadingHTTPServer):
    """A page that downloads two files by itself, and tells when a download would long be over."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path == "/go":
            self.server.go.wait(20)
        body = _PAGE.format(state=STATE).encode()
        self.send_response(200)
        if self.path == "/file":
            body = b"x" * 1000
            self.send_header("Content-Disposition", f'attachment; filename="{NAME}"')
        self.send_header("Content-Type", "application/octet-stream" if self.path == "/file" else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked.append(self.path)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture(scope="module")
def screen() -> Iterator[Screen]:
    with browser_stage.screen() as found:
        yield found


def files(stage: Stage) -> list[str]:
    return [str(path) for path in stage.root.rglob("*.bin*") if path.is_file()]


def let_page_try(server: Server) -> None:
    server.asked.clear()
    server.go.set()
    wait_until(lambda: "/done" in server.asked, 20)
    assert "/file" in server.asked
    server.go.clear()


def test_a_session_without_a_window_downloads_nothing_to_its_end(server: Server) -> None:
    with browser_stage.set_stage(server.url) as stage:
        session = stage.open(f"{server.url}/in", kind=SessionKind.PLAIN)
        session.opened()

        let_page_try(server)

        assert files(stage) == []


def test_in_a_window_that_was_handed_over_downloads_are_the_persons(server: Server, screen: Screen) -> None:
    with browser_stage.set_stage(server.url, screen) as stage:
        session = stage.open(f"{server.url}/in")
        session.opened()

        let_page_try(server)

        wait_until((stage.home / "Downloads" / NAME).exists)
        session.closed()
