"""Probes, numbers, the description."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.http.errors import STATUSES
from daemon.domain import asyncapi
from daemon.domain.errors import Code
from tests.integration.http_stage import Stage, staged


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as found:
        yield found


def numbers(stage: Stage) -> dict[str, float]:
    lines = stage.get("/metrics").raw.decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")
    }


def test_every_code_has_a_status() -> None:
    assert set(STATUSES) == set(Code)


def test_a_daemon_whose_loops_turn_is_alive(stage: Stage) -> None:
    assert stage.get("/livez").body["status"] == "alive"


def test_a_daemon_whose_bus_stands_still_is_not_alive(stage: Stage) -> None:
    stage.core.clock.advance(31)

    answer = stage.get("/livez", user=None)

    assert (answer.status, answer.body["status"]) == (503, "stuck")


def test_a_daemon_that_answers_is_ready(stage: Stage) -> None:
    body = stage.get("/readyz").body

    assert (body["phase"], body["outbox"]) == ("ready", 0)


def test_the_numbers_have_their_names(stage: Stage) -> None:
    stage.core.media.put("clip.mp4")
    stage.core.scheduled()
    stage.post("/tiktok/session")

    found = numbers(stage)

    assert found['tokd_build_info{version="0.0.0"}'] == 1
    assert found['tokd_posts{state="scheduled"}'] == 1
    assert found["tokd_outbox_pending"] == 0
    assert found['tokd_browser_sessions{state="open"}'] == 1
    assert 'tokd_loop_age_seconds{loop="bus"}' in found
    assert found['tokd_token_expiry_timestamp_seconds{account="ada"}'] > 1_700_000_000
    assert found['tokd_http_request_duration_seconds_count{endpoint="/tiktok/session",outcome="200"}'] == 1
    assert found["process_open_fds"] > 0


def test_a_number_that_is_gone_is_not_told_any_more(stage: Stage) -> None:
    stage.core.media.put("clip.mp4")
    post = stage.core.scheduled()
    numbers(stage)
    stage.core.do("post/cancel", {"post": post})

    assert 'tokd_posts{state="scheduled"}' not in numbers(stage)


def test_what_callers_send_makes_no_new_numbers(stage: Stage) -> None:
    for name in ("a", "b"):
        stage.get(f"/api/v1/posts/p_{name}")
        stage.get(f"/{name}")

    endpoints = {found[1] for name in numbers(stage) if (found := re.search(r'endpoint="([^"]*)"', name))}

    assert {"/api/v1/posts/{post}", "none"} <= endpoints
    assert not any("p_a" in name for name in endpoints)


# -- the description -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with staged(tmp_path_factory.mktemp("http")) as stage:
        found: dict[str, Any] = stage.get("/openapi.json").body
        return found


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
    ]


def test_every_endpoint_is_described(described: dict[str, Any]) -> None:
    assert {(method.upper(), path) for path, method, _ in operations(described)} == {
        ("POST", "/tiktok/session"), ("GET", "/tiktok/sessions"), ("GET", "/tiktok/session/{session}"),
        ("DELETE", "/tiktok/session/{session}"), ("POST", "/tiktok/session/{session}/extend"), ("POST", "/browse"),
        ("POST", "/profiles/{name}/login"), ("POST", "/api/v1/posts"), ("GET", "/api/v1/posts"),
        ("GET", "/api/v1/posts/{post}"), ("PATCH", "/api/v1/posts/{post}"), ("DELETE", "/api/v1/posts/{post}"),
        ("POST", "/api/v1/posts/{post}/publish-now"), ("POST", "/api/v1/posts/{post}/resolve"),
        ("POST", "/api/v1/tasks"), ("GET", "/api/v1/tasks"), ("GET", "/api/v1/tasks/{task}"),
        ("PATCH", "/api/v1/tasks/{task}"), ("GET", "/api/v1/tasks/{task}/detail"),
        ("POST", "/api/v1/tasks/{task}/post-to-tiktok"), ("GET", "/api/v1/tasks/{task}/post-status"),
        ("GET", "/api/v1/accounts"), ("DELETE", "/api/v1/accounts/{name}"), ("POST", "/api/v1/accounts/{name}/enable"),
        ("POST", "/api/v1/accounts/{name}/disable"), ("POST", "/api/v1/accounts/{name}/check"),
        ("GET", "/tiktok/auth"), ("GET", "/tiktok/callback"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"),
        ("GET", "/openapi.json"), ("GET", "/asyncapi.json"), ("GET", "/api/v1/events"), ("POST", "/tiktok/webhook"),
        ("POST", "/api/v1/media"), ("GET", "/api/v1/media/{sha256}"),
    }  # fmt: skip


def test_every_endpoint_but_the_probes_and_the_webhook_asks_for_a_token(described: dict[str, Any]) -> None:
    open_ones = {path for path, _, operation in operations(described) if "security" not in operation}

    assert open_ones == {"/livez", "/readyz", "/tiktok/webhook", "/tiktok/callback"}
    assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_a_session_is_described_with_every_status_of_the_contract(described: dict[str, Any]) -> None:
    found = described["paths"]["/tiktok/session"]["post"]["responses"]

    assert {"200", "401", "409", "415", "422", "423", "500", "503", "504"} <= set(found)


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.add(value["$ref"])
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(described)

    assert found
    assert {name.rpartition("/")[2] for name in found} <= set(described["components"]["schemas"])


def test_a_query_is_described(described: dict[str, Any]) -> None:
    (wait,) = described["paths"]["/tiktok/session"]["post"]["parameters"][:1]

    assert (wait["name"], wait["schema"]["enum"]) == ("wait", ["established", "closed"])


def test_a_body_refuses_other_fields_in_the_description_too(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]

    assert all(
        schemas[name]["additionalProperties"] is False
        for name in ("Nothing", "Browse", "SchedulePost", "PostToTiktok")
    )


def test_the_protocol_is_given_as_the_very_bytes_whose_hash_is_told(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        answer = stage.get("/asyncapi.json")

    assert hashlib.sha256(answer.raw).hexdigest() == asyncapi.fingerprint()
    assert answer.headers["content-type"] == "application/json"
