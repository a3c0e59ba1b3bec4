"""A real daemon under requests that are generated from its own description: thousands, and none answered by accident."""

import http.client
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from tests.brokers import free_port
from tests.daemons import Daemon
from tests.e2e.fuzzing import LEFT_OUT, RULES, fuzz
from tests.e2e.stage import staged
from tests.waiting import wait_until

CASES = int(os.environ.get("TOKD_FUZZ", "3000"))
SEED = int(os.environ.get("TOKD_FUZZ_SEED", "0")) or (None if CASES == 3000 else random.randrange(1, 2**32))
PATHS = {"post": "p_1", "task": "t_1", "session": "0000000000000001", "name": "master", "sha256": "0" * 64}
# Closed to callers without a token: all but these.
NO_TOKEN = {"GET /livez", "GET /readyz", "GET /tiktok/callback", "POST /tiktok/webhook"}
# These look at a proof of their own before anything else.
OWN_PROOF = {"GET /tiktok/callback", "POST /tiktok/webhook"}


@dataclass
class Stage:
    """A daemon that has no browser, so that sessions are refused quickly, and a caller's token for it."""

    daemon: Daemon
    token: str

    @property
    def port(self) -> int:
        return int(self.daemon.settings["http.port"])

    def call(self, method: str, path: str, **headers: str) -> tuple[int, Any]:
        wire = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            wire.request(
                method, path, headers={name.replace("_", "-"): text for name, text in headers.items()}
            )
            answer = wire.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            wire.close()

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        return self.call(method, path, Authorization=f"Bearer {self.token}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("fuzz")
    settings = {"http.port": str(free_port()), "session.browser_path": str(folder / "none")}
    with staged(folder, settings) as found:
        found.account("ann")
        token = found.daemon.call("token/issue", {"user": "ann"})["result"]["text"]
        found.daemon.wait_settled()
        yield Stage(found.daemon, token)
        assert found.daemon.stop() == 0


@pytest.fixture(scope="module")
def described(stage: Stage) -> dict[str, Any]:
    return stage.ask("GET", "/openapi.json")[1]


def operations(described: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return each operation's label, method, and a path that leads to it."""
    return [
        (f"{method.upper()} {path}", method.upper(), path.format_map(PATHS))
        for path, item in described["paths"].items()
        for method in item
    ]


def size(daemon: Daemon) -> tuple[int, int]:
    assert daemon.process is not None
    process = psutil.Process(daemon.process.pid)
    return process.num_threads(), process.num_fds()


def has_not_grown(before: tuple[int, int], now: tuple[int, int]) -> bool:
    """Tell whether threads and files are as before, but for the event loop's pool, which comes with its first use."""
    pool = min(32, (os.cpu_count() or 1) + 4)
    return now[0] <= before[0] + pool and now[1] <= before[1] + 2


def test_thousands_of_generated_requests_are_answered_as_the_description_says(
    stage: Stage, described: dict[str, Any]
) -> None:
    before = size(stage.daemon)

    found = fuzz(
        f"http://127.0.0.1:{stage.port}", stage.token, described, each=(CASES - 1000) // 20 + 1, seed=SEED
    )

    print(f"\n{found.sent} requests, seed {SEED}: {dict(sorted(found.statuses.items()))}")
    told = "\n".join(f"{name}\n    {request}" for name, request in found.failures.items())
    assert not found.failures, f"TOKD_FUZZ={CASES} TOKD_FUZZ_SEED={SEED or 0}:\n{told}"
    assert found.sent >= CASES
    assert set(found.by_operation) == {label for label, _, _ in operations(described)} - set(LEFT_OUT)
    assert {200, 201, 400, 401, 404, 405, 409, 415, 422, 500} <= set(found.statuses)
    wait_until(
        lambda: has_not_grown(before, size(stage.daemon)), 40,
        what=lambda: f"no more threads and files: {before}, now {size(stage.daemon)}",
    )  # fmt: skip
    assert stage.ask("GET", "/readyz")[0] == 200
    assert "Traceback" not in stage.daemon.log.read_text()


def test_every_operation_is_closed_without_a_token(stage: Stage, described: dict[str, Any]) -> None:
    found = {
        label: stage.call(method, path)[0]
        for label, method, path in operations(described)
        if label not in NO_TOKEN
    }

    assert set(found.values()) == {401}, found


@pytest.mark.parametrize("query", ["nothing=1", "limit=1&limit=2", "%00=1", "=", f"{quote('ü' * 900)}=1"])
def test_every_operation_refuses_a_query_that_it_does_not_know(
    stage: Stage, described: dict[str, Any], query: str
) -> None:
    found = {
        label: stage.ask(method, f"{path}?{query}")[0]
        for label, method, path in operations(described)
        if label not in OWN_PROOF
    }

    assert set(found.values()) == {422}, found


def test_every_path_tells_which_methods_it_has(stage: Stage, described: dict[str, Any]) -> None:
    for path, item in described["paths"].items():
        wire = http.client.HTTPConnection("127.0.0.1", stage.port, timeout=15)
        wire.request("TRACE", path.format_map(PATHS))
        answer = wire.getresponse()
        wire.close()

        assert answer.status == 405
        assert (answer.headers["Allow"] or "").lower().split(", ") == sorted(item)


def test_the_exceptions_are_about_something_that_is_there(described: dict[str, Any]) -> None:
    text = json.dumps(described)

    assert set(LEFT_OUT) <= {label for label, _, _ in operations(described)}
    assert [name for name in RULES if name not in {"query", "task"} and f'"{name}"' not in text] == []
