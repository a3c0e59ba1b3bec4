"""Pages in a real Chromium: what one of a strange origin tries on tokd, even with a right token, and what ours may do."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from adapters.browser.devtools import BrowserLine
from tests.integration import browser_stage
from tests.integration.http_stage import Stage, staged

NAME = "evil.example"  # the browser is told that it leads to this machine, as after a rebinding
ORDER = '{"instance_id":"i"}'
# Each tries one way, and tells "read" with what it could see, or "blocked". `base` is tokd, `token` a right token.
TRIES = """
const late = new Promise(done => setTimeout(() => done('blocked: nothing came'), 4000));
const told = name => event => 'blocked: ' + name;
const on = (thing, good, bad) => new Promise(done => {
  thing['on' + good] = () => done('read: ' + good);
  thing['on' + bad] = () => done('blocked: ' + bad);
});
const seen = async answer =>
  answer.type === 'opaque' ? 'blocked: opaque' : 'read: ' + answer.status + await answer.text();
const put = (name, fields) => document.body.appendChild(Object.assign(document.createElement(name), fields));
const inside = frame => new Promise(done => {
  setTimeout(() => done('blocked: empty'), 3000);
  frame.onload = () => {
    let page = null;
    try { page = frame.contentDocument; } catch (error) { }
    done(page && page.URL !== 'about:blank' ? 'read: ' + page.body.innerText : 'blocked: frame');
  };
});
const bearer = {authorization: 'Bearer ' + token};
const json = {'content-type': 'application/json'};
const tries = {
  'a question': async () => seen(await fetch(base + '/livez')),
  'a question with a token': async () => seen(await fetch(base + '/api/v1/posts', {headers: bearer})),
  'a question in silence': async () => seen(await fetch(base + '/livez', {mode: 'no-cors'})),
  'an order': async () =>
    seen(await fetch(base + '/api/v1/tasks', {method: 'POST', body: order, headers: {...bearer, ...json}})),
  'an order in silence': async () =>
    seen(await fetch(base + '/api/v1/tasks', {method: 'POST', body: order, mode: 'no-cors', credentials: 'include'})),
  'an old request': async () => {
    const asked = new XMLHttpRequest();
    asked.open('GET', base + '/readyz');
    asked.send();
    return on(asked, 'load', 'error');
  },
  'a beacon': async () => {
    navigator.sendBeacon(base + '/api/v1/tasks', new Blob([order], {type: 'text/plain'}));
    return 'blocked: nothing to see';
  },
  'an image': async () => on(put('img', {src: base + '/livez'}), 'load', 'error'),
  'a script': async () => on(put('script', {src: base + '/livez'}), 'load', 'error'),
  'a style': async () => on(put('link', {rel: 'stylesheet', href: base + '/livez'}), 'load', 'error'),
  'a frame': async () => inside(put('iframe', {src: base + '/livez'})),
  'a form': async () => {
    const frame = put('iframe', {name: 'f'});
    const form = put('form', {action: base + '/api/v1/tasks', method: 'POST', enctype: 'text/plain', target: 'f'});
    form.innerHTML = '<input name=\\'{"instance_id":"i","description":"\\' value=\\'"}\\'>';
    const found = inside(frame);
    form.submit();
    return found;
  },
  'a frame of no origin': async () => new Promise(done => {
    addEventListener('message', event => done(event.data));
    put('iframe', {sandbox: 'allow-scripts', srcdoc: `<script>
      fetch('${base}/api/v1/tasks', {method: 'POST', body: '${order}', headers: ${JSON.stringify({...bearer, ...json})}})
        .then(() => parent.postMessage('read: an answer', '*'), () => parent.postMessage('blocked: refused', '*'))
    <` + `/script>`});
  }),
  'a stream': async () => on(new EventSource(base + '/api/v1/events'), 'open', 'error'),
  'a socket': async () => on(new WebSocket(base.replace('http', 'ws') + '/api/v1/events'), 'open', 'error'),
  'a window': async () => {
    const opened = open(base + '/livez');
    await new Promise(done => setTimeout(done, 1000));
    try { return 'read: ' + opened.document.body.innerText; } catch (error) { return 'blocked: ' + error.name; }
  },
};
const found = {};
await Promise.all(Object.entries(tries).map(async ([name, attempt]) => {
  found[name] = await Promise.race([attempt().catch(error => 'blocked: ' + error.name), late]);
}));
return found;
"""
NUMBER = 16
READY = """new Promise(done => {
  const look = () =>
    location.href.startsWith(URL) && document.readyState === 'complete' ? done() : setTimeout(look, 20);
  look();
})"""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>A page</title><body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def ports() -> Iterator[list[int]]:
    """Two web servers: one whose pages may call tokd, and another."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [server.server_address[1] for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, ports: list[int]) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("http"), cors_origins=(f"http://127.0.0.1:{ports[0]}",)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[BrowserLine]:
    rules = f"MAP {NAME} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with browser_stage.line(f"--host-resolver-rules={rules}") as found:
        yield found


def run(browser: BrowserLine, url: str, script: str) -> Any:
    """Open a page and run a script in it, as its own would run; return its result."""
    target = browser.call("Target.createTarget", {"url": "about:blank"})["targetId"]
    session = browser.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
    try:
        browser.call("Page.enable", session=session)
        browser.call("Page.navigate", {"url": url}, session=session)
        params = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        ready = READY.replace("URL", json.dumps(url))
        browser.call("Runtime.evaluate", params | {"expression": ready}, session=session, within_s=20)
        answer = browser.call(
            "Runtime.evaluate", params | {"expression": f"(async () => {{ {script} }})()"}, session=session, within_s=30
        )  # fmt: skip
    finally:
        browser.call("Target.closeTarget", {"targetId": target})
    assert "exceptionDetails" not in answer, answer
    return answer["result"]["value"]


def tries(stage: Stage) -> str:
    names = {"base": f"http://127.0.0.1:{stage.port}", "token": stage.token(), "order": ORDER}
    return "".join(f"const {name} = {json.dumps(value)};" for name, value in names.items()) + TRIES


def made(stage: Stage) -> int:
    return sum(len(stage.get(f"/api/v1/{kind}").body[kind]) for kind in ("tasks", "posts"))


@pytest.mark.parametrize("host", [NAME, "127.0.0.1"])
def test_a_page_of_a_strange_origin_changes_nothing_and_reads_nothing(
    stage: Stage, browser: BrowserLine, ports: list[int], host: str
) -> None:
    before = made(stage)

    found = run(browser, f"http://{host}:{ports[1]}/", tries(stage))

    assert len(found) == NUMBER
    assert {name: told for name, told in found.items() if not told.startswith("blocked")} == {}
    assert made(stage) == before


def test_a_page_whose_name_was_moved_to_this_machine_reads_refusals_only(
    stage: Stage, browser: BrowserLine
) -> None:
    before = made(stage)
    script = (
        f"const bearer = {{authorization: 'Bearer {stage.token()}', 'content-type': 'application/json'}};"
        "const ask = async (path, more) => (await fetch(path, {headers: bearer, ...more})).status;"
        "return [await ask('/livez'), await ask('/api/v1/posts'), await ask('/openapi.json'),"
        f"await ask('/api/v1/tasks', {{method: 'POST', body: '{ORDER}'}}), await ask('/api/v1/events')]"
    )

    found = run(browser, f"http://{NAME}:{stage.port}/livez", script)

    assert found == [421] * 5
    assert made(stage) == before


def test_a_page_of_the_origin_in_the_settings_may_do_all_that_its_token_allows(
    stage: Stage, browser: BrowserLine, ports: list[int]
) -> None:
    before = made(stage)

    found = run(browser, f"http://127.0.0.1:{ports[0]}/", tries(stage))

    allowed = {"a question", "a question with a token", "an order", "an old request"}
    assert {name for name, told in found.items() if told.startswith("read")} >= allowed
    assert found["an order"].startswith("read: 201")
    assert made(stage) == before + 1
