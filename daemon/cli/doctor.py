"""`tokd doctor`: one line for every check, and what to do."""

from collections.abc import Iterator
from typing import Any

import typer

from config.load import Loaded
from config.problems import ConfigError
from daemon.cli.browser_checks import check_browser
from daemon.cli.disk_checks import check_disk
from daemon.cli.exits import CONFIG, FAILED
from daemon.cli.findings import Finding, fail, ok, warn
from daemon.cli.invocation import Json, invocation_of
from daemon.cli.network_checks import check_network
from daemon.cli.output import print_json, say

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("doctor")(doctor)


def doctor(ctx: typer.Context, as_json: Json = False) -> None:
    """Check configuration, disk, database, browser, broker, TikTok and clock; exits with 0 if nothing fails.

    It changes no data, opens no browser, and can run beside the daemon.

    Example: tokd doctor
    """
    code = FAILED
    findings: list[Finding] = []
    try:
        loaded = invocation_of(ctx).loaded()
    except ConfigError as error:
        code = CONFIG
        source: Iterator[Finding] = iter(
            [fail("configuration", str(problem), "see `tokd config example`") for problem in error.problems]
        )
    else:
        source = check_all(loaded)
    for finding in source:
        findings.append(finding)
        if not as_json:
            _print(finding)
    has_failed = any(finding.verdict == "fail" for finding in findings)
    if as_json:
        print_json({"ok": not has_failed, "checks": [_as_dict(finding) for finding in findings]})
    if has_failed:
        raise typer.Exit(code)


def check_all(loaded: Loaded) -> Iterator[Finding]:
    """Yield every finding, as soon as it is there."""
    yield ok("configuration", str(loaded.path) if loaded.path else "no file: defaults and environment")
    for warning in loaded.warnings:
        yield warn("configuration", warning)
    yield from check_disk(loaded.settings)
    yield from check_browser(loaded.settings)
    yield from check_network(loaded.settings)


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name, "verdict": finding.verdict, "text": finding.text, "advice": finding.advice,
    }  # fmt: skip


def _print(finding: Finding) -> None:
    say(f"{finding.verdict:<4}  {finding.name}: {finding.text}", style=_STYLES[finding.verdict])
    if finding.advice and finding.verdict != "ok":
        say(f"      → {finding.advice}")
