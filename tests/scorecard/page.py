"""The published page: every value of it comes from the results of a run."""

import platform
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from tests.brokers import find
from tests.scorecard.row import BROKEN, HELD, NOT_RUN, Result, Row

CONTROLS = ("A1", "A4", "A8", "A11", "B1", "B8", "C3", "D1", "S7")
PARTS = {
    "A": "Crash and durability", "B": "Commands, events, idempotency", "C": "Time", "D": "Resources, endurance",
    "E": "systemd", "S": "Security",
}  # fmt: skip
MODEL = "model: "  # faults of B12: many and cheap, so they are counted apart
CASES = {"A11": "changes", "C4": "posts", "E1": "looks", "E2": "processes"}  # what a row's own cases are
COUNTED_BY_TESTS = {"B3": "commands", "B12": "runs", "D1": "sessions", "S3": "inputs", "S4": "requests"}
HEAD = """\
# Reliability scorecard

Written by `python -m tests.scorecard --write docs/scorecard.md` from the results of a run; no value is put in by hand.
`make scorecard` runs the parts A, B and E, `make scorecard-weekly` the parts C, D and S; `--list` shows the rows, and
`--row A1 --count 50 --seed 7` repeats one. The numbers come from the simulator's own ledger, from the broker and from
the database read by another process, not from what the daemon says about itself. A row that was not run counts for
nothing.

"""


def page(rows: Sequence[Row], results: Iterable[Result]) -> str:
    """Return the page: the newest result of each row counts."""
    results = list(results)
    newest = {result.row: result for result in results}
    ran = [newest[row.id] for row in rows if row.id in newest and newest[row.id].verdict != NOT_RUN]
    parts = [HEAD, _summary(rows, newest, ran), _kinds(ran)]
    for letter, name in PARTS.items():
        parts.append(_part(name, [row for row in rows if row.part == letter], newest))
    parts += [_broken(rows, newest), _broken_before(rows, results, newest)]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def _summary(rows: Sequence[Row], newest: dict[str, Result], ran: list[Result]) -> str:
    verdicts = Counter(newest[row.id].verdict if row.id in newest else NOT_RUN for row in rows)
    short = [row.id for row in rows if _is_short(row, newest.get(row.id))]
    caught = [name for name in CONTROLS if name in newest and newest[name].tally.controls]
    full = "Every row that was run had its full count." if not short else (
        "**This was a shortened run**: these rows were run with fewer faults than their figure asks for, and prove no "
        f"more than what was run: {', '.join(short)}."
    )  # fmt: skip
    begun, ended = min((r.at for r in ran), default=""), max((r.at for r in ran), default="")
    minutes = sum(r.seconds for r in ran) / 60
    total = sum((result.tally.faults for result in ran), Counter())
    model = sum(count for kind, count in total.items() if kind.startswith(MODEL))
    lines = [
        f"**{len(rows)} rows: {verdicts[HELD]} held, {verdicts[BROKEN]} broken, {verdicts[NOT_RUN]} not run.** {full}",
        "",
        "| | |",
        "|---|---|",
        f"| commit | {', '.join(sorted({result.commit for result in ran}))} |",
        f"| run | {begun} to {ended}, rows of {minutes:.0f} minutes together |",
        f"| versions | {_versions()} |",
        f"| faults injected | {total.total() - model} |",
        f"| faults in the model, within one process | {model} |",
        f"| orders | {sum(r.tally.orders for r in ran)} |",
        f"| init calls seen | {sum(r.tally.inits for r in ran)} |",
        f"| lost | {sum(r.tally.lost for r in ran)} |",
        f"| duplicate | {sum(r.tally.doubled for r in ran)} |",
        f"| UNCERTAIN, reported | {sum(r.tally.uncertain for r in ran)} |",
        f"| UNCERTAIN, unreported or unjust | {sum(r.tally.unreported for r in ran)} |",
        f"| integrity errors | {sum(r.tally.integrity for r in ran)} |",
        f"| negative controls caught | {len(caught)} of {len(CONTROLS)}: {', '.join(caught) or 'none'} |",
    ]
    return "\n".join(lines) + "\n"


def _is_short(row: Row, result: Result | None) -> bool:
    if result is None or result.verdict == NOT_RUN or not row.full:
        return False
    return done_of(row, result) < row.full


def done_of(row: Row, result: Result) -> int:
    """Return how many of what the row's `full` counts were done."""
    tally = result.tally
    if row.id in COUNTED_BY_TESTS:  # which do as many as they are told, or fail
        return result.wanted
    return tally.faults.total() or tally.orders or tally.cases


def _versions() -> str:
    told = subprocess.run([find("mosquitto"), "-h"], capture_output=True, text=True, check=False).stdout
    broker = told.splitlines()[0].replace("mosquitto version ", "mosquitto ") if told else "mosquitto"
    return (
        f"tokd {version('tokd')}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"SQLAlchemy {version('sqlalchemy')}, paho-mqtt {version('paho-mqtt')}, {broker}, "
        f"Linux {platform.release().split('-')[0]}"
    )


def _kinds(ran: list[Result]) -> str:
    by_kind: dict[str, Counter[str]] = {}
    for result in ran:
        for kind, count in result.tally.faults.items():
            by_kind.setdefault(kind, Counter())[result.verdict] += count
    lines = [
        "## Faults by kind",
        "",
        "0 failures in *N* trials mean less than 3/*N* failures for each trial, with 95 % confidence; the bound is given",
        "for each kind, because a sum would hide a kind that was tried twenty times. It holds for the rows that held.",
        "",
        "| kind | N | of these in rows that held | bound |",
        "|---|---:|---:|---:|",
    ]
    for kind, counts in sorted(by_kind.items(), key=lambda item: -item[1].total()):
        held = counts[HELD]
        bound = f"< {300 / held:.2g} %" if held > 3 else "none"
        lines.append(f"| {kind} | {counts.total()} | {held} | {bound} |")
    return "\n".join(lines) + "\n"


def _part(name: str, rows: Sequence[Row], newest: dict[str, Result]) -> str:
    lines = [
        f"## {name}",
        "",
        "| # | what | figure to reach | verdict | done | lost | dup. | UNCERTAIN | integrity | seed | s |",
        "|---|---|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        result = newest.get(row.id)
        lines.append(f"| {row.id} | {row.sentence} | {row.figure} | {_cells(row, result)} |")
    notes = [
        f"- {row.id}: {text}" for row in rows
        if (result := newest.get(row.id)) and result.verdict != NOT_RUN and (text := _notes(row, result))
    ]  # fmt: skip
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _cells(row: Row, result: Result | None) -> str:
    if result is None:
        return f"not run: {row.missing or 'no time for it'} | | | | | | |"
    if result.verdict == NOT_RUN:
        return f"not run: {result.reason} | | | | | | |"
    tally = result.tally
    done = [f"{count} {kind}" for kind, count in sorted(tally.faults.items())]
    if not done and tally.cases:
        done = [f"{tally.cases} {'tests' if row.tests else CASES.get(row.id, 'cases')}"]
    if row.id in COUNTED_BY_TESTS:
        done.insert(0, f"{done_of(row, result):,} {COUNTED_BY_TESTS[row.id]}")
    if _is_short(row, result):
        done.append(f"**short: {done_of(row, result):,} of {row.full:,}**")
    verdict = f"**{result.verdict}**" if result.verdict == BROKEN else result.verdict
    return (
        f"{verdict} | {', '.join(done)} | {tally.lost} | {tally.doubled} | {tally.uncertain} | "
        f"{tally.integrity} | {result.seed} | {result.seconds:.0f}"
    )


def _notes(row: Row, result: Result) -> str:
    tally = result.tally
    parts = [f"{name}: {value}" for name, value in tally.figures.items()]
    parts += [f"negative controls caught: {tally.controls}"] if tally.controls else []
    parts += [row.note] if row.note else []
    return ". ".join(parts)


def _broken(rows: Sequence[Row], newest: dict[str, Result]) -> str:
    lines: list[str] = []
    for row in rows:
        result = newest.get(row.id)
        if result is not None and result.verdict == BROKEN:
            kinds = Counter(" ".join(text.split())[:240] for text in result.tally.wrong)
            lines += [
                f"- {row.id}: {text}" + (f" ({count} times)" if count > 1 else "")
                for text, count in kinds.items()
            ]
    return "\n".join(["## What was found", "", *lines]) + "\n" if lines else ""


def _broken_before(rows: Sequence[Row], results: Sequence[Result], newest: dict[str, Result]) -> str:
    """Name the broken runs that a later one of the same row has taken the place of: they are no less true."""
    lines = [
        f"- {row.id}: broken at {result.at}, at commit {result.commit}; now {newest[row.id].verdict}"
        for row in rows
        for result in results
        if result.row == row.id and result.verdict == BROKEN and result is not newest[row.id]
    ]
    head = "Their faults are not counted above. What has changed in between may be the row, not the program."
    return "\n".join(["## Earlier runs that were broken", "", head, "", *lines]) + "\n" if lines else ""


def write(path: Path, rows: Sequence[Row], results: Iterable[Result]) -> None:
    """Write the page."""
    path.write_text(page(rows, results), encoding="utf-8")
