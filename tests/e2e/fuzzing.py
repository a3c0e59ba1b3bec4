"""Generated requests: what the served description says may be sent, and what it says may not, to a real daemon.

Every operation of the description is taken; one that comes along needs nothing here. The two tables are the exceptions.
"""

import collections
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.core.parameters import ParameterLocation
from schemathesis.engine import events, from_schema

# Operations that get no generated requests, and why.
LEFT_OUT: Mapping[str, str] = {
    "GET /api/v1/events": "it never ends; test_http_hostile sends it hostile headers and reads how it begins",
}
# Fields whose rule no description can hold: a value of the right shape may be refused with 422, naming the field.
RULES: Mapping[str, str] = {
    "url": "which addresses are http(s) addresses, in plain letters",
    "photos": "the same, for each",
    "output_data": "the same, for its video_url",
    "cursor": "must be one that a list gave",
    "at": "must be a time, in some years, and with an offset or a zone",
    "schedule_time": "the same",
    "size": "comes with sha256, and is the size of what comes",
    "sha256": "is that of what comes",
    "file": "must be a video, and no larger than tiktok.file_size_max",
    "disable_auto_auth": "belongs to the web flow",
    "privacy_level": "must be one that the creator has now, and a direct post needs one",
    "zone": "must be in the time zone database",
    "timestamp": "must be a time of this calendar",
    "task": "only a completed task with a video can be posted",
    "media": "exactly one of media, url and photos; and the file must be there",
    "query": "no parameter holds a control character",
    "details": "at most 2000 characters, and 8 levels deep",
}


@dataclass
class Outcome:
    """What a run has shown."""

    sent: int = 0
    by_operation: collections.Counter[str] = field(default_factory=collections.Counter)
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    failures: dict[str, str] = field(default_factory=dict)  # one of each kind, with its request


@schemathesis.check
def fault_is_by_contract(ctx: CheckContext, response: Response, case: Case) -> None:
    """Answers of 5xx are for sessions only, each with its own code; a fault of tokd's own is never one of them."""
    if response.status_code >= 500 and not _is_page(response):
        details = response.json().get("error_details")
        assert details is not None, f"{response.status_code} outside of the sessions"
        assert details["code"] not in {"INTERNAL", "BUSY"}, details


@schemathesis.check
def bad_body_is_refused(ctx: CheckContext, response: Response, case: Case) -> None:
    """A body that does not fit is refused as such, whether or not what it is about exists.

    An upload that would go on at a wrong place is refused before its body is read: it may have gigabytes.
    """
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    if body and body.mode is GenerationMode.NEGATIVE and not _goes_on_elsewhere(response):
        assert response.status_code in {400, 401, 405, 413, 415, 422}, response.status_code


@schemathesis.check
def nothing_is_kept_or_guessed(ctx: CheckContext, response: Response, case: Case) -> None:
    """No answer may be kept by a browser, or be read as something else than it is."""
    assert response.headers["cache-control"] == ["no-store"]
    assert response.headers["x-content-type-options"] == ["nosniff"]


def fuzz(url: str, token: str, described: dict[str, Any], *, each: int, seed: int | None) -> Outcome:
    """Send at least `each` requests to every operation that takes anything; without a seed, always the same ones."""
    config: dict[str, Any] = {
        "base-url": url,
        "headers": {"Authorization": f"Bearer {token}"},
        "request-timeout": 20,
        "continue-on-failure": True,
        "generation": {
            "max-examples": each, "deterministic": seed is None, "database": "none", "no-shrink": True,
            "allow-x00": False,  # refused everywhere (wire.py); a description would have to say it at every text
        },
        "checks": {"not_a_server_error": {"enabled": False}},  # fault_is_by_contract is about those
        "phases": {"stateful": {"enabled": False}},
    }  # fmt: skip
    config |= {} if seed is None else {"seed": seed}
    schema = schemathesis.openapi.from_dict(described, config=schemathesis.Config.from_dict(config))
    for label in LEFT_OUT:
        method, _, path = label.partition(" ")
        schema = schema.exclude(method=method, path=path)
    found = Outcome()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _read(event, found)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found.failures[repr(event)] = "the generator itself has failed"
    return found


def _read(event: events.ScenarioFinished, found: Outcome) -> None:
    for name, interaction in event.recorder.interactions.items():
        request, response = interaction.request, interaction.response
        found.sent += 1
        found.by_operation[event.recorder.label] += 1
        found.statuses[response.status_code if response else 0] += 1
        told = (
            f"{request.method} {request.uri} {_plain(request.headers)} {request.body!r:.800} -> "
            f"{response and response.status_code} {response and response.content[:500]!r}"
        )
        if response is None:
            found.failures.setdefault(f"{event.recorder.label}: no answer", told)
        for check in event.recorder.checks.get(name, ()):
            is_known = (check.name == "positive_data_acceptance" and _has_rule(response)) or (
                check.name == "negative_data_rejection"
                and response is not None
                and response.status_code == 413
            )
            if check.failure_info is None or is_known:
                continue
            failure = check.failure_info.failure
            found.failures.setdefault(f"{event.recorder.label}: {check.name}: {failure.message}", told)


def _plain(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name.lower() != "authorization"}


def _goes_on_elsewhere(response: Any) -> bool:
    return response.status_code == 409 and response.json()["error"]["code"] == "upload_conflict"


def _is_page(response: Any) -> bool:
    """Tell whether this is what a person sees at /tiktok/callback; tests of its own read it."""
    return str(response.headers.get("content-type", [""])[0]).startswith("text/html")


def _has_rule(response: Any) -> bool:
    if response is None or response.status_code not in {400, 413, 422}:
        return False
    if _is_page(response):
        return True  # only a state that was handed out gets further
    body = json.loads(response.content)
    error = body.get("error") or body["error_details"]
    return any(part in RULES for part in str(error.get("field", "")).split("."))
