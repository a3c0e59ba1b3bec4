"""The scorecard counts what was run and nothing else, and its page says so."""

import json
import sys
from pathlib import Path

import pytest

from tests.crash.ledgers import Findings
from tests.daemons import ROOT
from tests.scorecard.page import page
from tests.scorecard.row import BROKEN, HELD, NOT_RUN, CannotRun, Result, Row, Tally, Task
from tests.scorecard.runner import Runner, read_results
from tests.scorecard.table import ROWS

WANTED = {"A": 12, "B": 12, "C": 4, "D": 7, "E": 6, "S": 16}


def inject(task: Task) -> None:
    for _ in range(task.count):
        if task.is_over():
            return
        task.tally.faults["kill -9"] += 1


def lose(task: Task) -> None:
    inject(task)
    task.tally.take(Findings(lost=["order-1"], uncertain=["order-2"]))


def fall(task: Task) -> None:
    inject(task)
    raise AssertionError("it did not come back")


def be_unable(_task: Task) -> None:
    raise CannotRun("strace is missing")


def a_row(run: object = inject, **more: object) -> Row:
    return Row("A1", "kills", "0 lost", "N", **({"full": 10, "run": run} | more))  # type: ignore[arg-type]


def run(row: Row, tmp_path: Path, **how: object) -> Result:
    results = tmp_path / "results.jsonl"
    Runner(results, seed=7, home=tmp_path, **how).run([row])  # type: ignore[arg-type]
    return read_results(results)[-1]


def test_every_row_is_in_the_table_once() -> None:
    found = {letter: [row.id for row in ROWS if row.part == letter] for letter in WANTED}

    assert found == {
        letter: [f"{letter}{number}" for number in range(1, count + 1)] for letter, count in WANTED.items()
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_runs_something_or_says_why_not(row: Row) -> None:
    assert bool(row.missing) != bool(row.run or row.tests)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_tests_that_a_row_names_are_there(row: Row) -> None:
    for name in (*row.tests, *row.control):
        file, _, test = name.removeprefix("--deselect=").partition("::")
        text = (ROOT / file).read_text()
        assert not test or f"def {test.partition('[')[0]}(" in text


def test_a_row_counts_what_it_has_injected(tmp_path: Path) -> None:
    result = run(a_row(), tmp_path, count=3)

    assert (result.verdict, result.tally.faults, result.seed, result.wanted) == (HELD, {"kill -9": 3}, 7, 3)


def test_a_row_that_finds_a_loss_is_broken_and_a_doubt_is_no_loss(tmp_path: Path) -> None:
    result = run(a_row(lose), tmp_path)

    assert (result.verdict, result.tally.lost, result.tally.uncertain) == (BROKEN, 1, 1)


def test_what_was_done_before_a_row_fell_counts(tmp_path: Path) -> None:
    result = run(a_row(fall), tmp_path)

    assert (result.verdict, result.tally.faults) == (BROKEN, {"kill -9": 10})
    assert result.tally.wrong == ["AssertionError: it did not come back"]


def test_a_row_that_cannot_run_here_says_why_and_counts_for_nothing(tmp_path: Path) -> None:
    result = run(a_row(be_unable), tmp_path)

    assert (result.verdict, result.reason, result.tally) == (NOT_RUN, "strace is missing", Tally())


def test_rows_that_were_done_are_not_run_again(tmp_path: Path) -> None:
    run(a_row(), tmp_path)
    run(a_row(), tmp_path)

    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 1


def test_no_row_is_begun_after_the_time(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "results.jsonl", minutes=1e-9)

    assert runner.run([a_row()])
    assert read_results(tmp_path / "results.jsonl") == []


BESIDE = """\
import sys, time
from pathlib import Path
folder, row = Path(__file__).parent, sys.argv[sys.argv.index("--row") + 1]
others = {"one": ["two.begun"], "two": ["one.begun"], "timed": ["one.done", "two.done"]}[row]
(folder / f"{row}.begun").touch()
end = time.monotonic() + 10
while not all((folder / name).exists() for name in others):
    assert time.monotonic() < end and row != "timed"
    time.sleep(0.01)
(folder / f"{row}.done").touch()
"""


def test_rows_run_at_once_and_those_that_measure_time_after_them(tmp_path: Path) -> None:
    script = tmp_path / "beside.py"
    script.write_text(BESIDE)
    rows = [
        Row(name, "kills", "0 lost", "N", run=inject, alone=name == "timed")
        for name in ("timed", "one", "two")
    ]
    runner = Runner(tmp_path / "results.jsonl", jobs=2, command=(sys.executable, str(script)))

    assert runner.run(rows)
    assert (tmp_path / "timed.done").exists()


def test_a_row_that_is_broken_in_its_own_process_is_no_good_run(tmp_path: Path) -> None:
    runner = Runner(tmp_path / "results.jsonl", jobs=2, command=(sys.executable, "-c", "raise SystemExit(1)"))

    assert not runner.run([a_row()])


def test_the_parts_of_a_task_are_the_whole_of_it(tmp_path: Path) -> None:
    task = Task(tmp_path, 7, 11, 0.0, "A1")
    parts = [task.part(number, 3) for number in range(3)]

    assert sorted(part.count for part in parts) == [3, 4, 4]
    assert [part.seed for part in parts] == [7, 8, 9]
    assert all(part.tally is task.tally for part in parts)


@pytest.fixture(scope="module")
def of_tests(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A row that is two tests of a suite; one tells what it has injected, one fails."""
    folder = tmp_path_factory.mktemp("suite")
    told = "from tests.notes import note\n\n\ndef test_good():\n    note({'failpoint': 2}, orders=1)\n"
    (folder / "test_two.py").write_text(f"{told}\n\ndef test_bad():\n    assert False\n")
    return run(a_row(None, tests=(str(folder / "test_two.py"),)), folder)


def test_a_row_whose_test_fails_is_broken(of_tests: Result) -> None:
    assert (of_tests.verdict, of_tests.tally.cases) == (BROKEN, 1)
    assert "test_bad" in of_tests.tally.wrong[0]


def test_a_test_tells_what_it_has_injected(of_tests: Result) -> None:
    assert (of_tests.tally.faults, of_tests.tally.orders) == ({"failpoint": 2}, 1)


def test_the_page_has_every_row_and_what_was_run_short(tmp_path: Path) -> None:
    text = page(ROWS, [run(a_row(), tmp_path, count=3)])

    assert all(f"| {row.id} |" in text for row in ROWS)
    assert "57 rows: 1 held, 0 broken, 56 not run" in text
    assert "**This was a shortened run**" in text
    assert "| kill -9 | 3 | 3 | none |" in text


def test_the_page_gives_no_bound_for_what_was_broken(tmp_path: Path) -> None:
    text = page(ROWS, [run(a_row(lose), tmp_path)])

    assert "| kill -9 | 10 | 0 | none |" in text
    assert "lost: order-1" in text


def test_a_line_of_results_comes_back_as_it_was(tmp_path: Path) -> None:
    result = run(a_row(lose), tmp_path)

    assert Result.of(json.loads(json.dumps(result.as_dict()))) == result


def test_the_page_keeps_a_broken_run_that_a_later_one_has_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    results = [run(a_row(lose), tmp_path / "a"), run(a_row(), tmp_path / "b")]

    assert f"- A1: broken at {results[0].at}" in page([a_row()], results)
    assert "Earlier runs" not in page([a_row()], results[1:])
