"""`python -m tests.scorecard`: run rows of the reliability scorecard, and write its page."""

import argparse
import os
import sys
from pathlib import Path

from tests.scorecard.page import write
from tests.scorecard.row import Row
from tests.scorecard.runner import Runner, read_results
from tests.scorecard.table import RELEASE, ROWS, WEEKLY

HELP = """\
Every row breaks the program in one way and counts what is lost, made twice or left in doubt.
Results go to a file, a line for each row, as soon as a row is over: a run that was broken off goes on where it was
when the same is started again (the same commit), and what it did counts.

  python -m tests.scorecard --list
  python -m tests.scorecard --row A1 --count 50 --seed 7
  python -m tests.scorecard --part release --minutes 90 --jobs 3
  python -m tests.scorecard --write docs/scorecard.md       only writes the page, from the file of results
"""
LANES = """\
run so many rows at once, each in a process of its own; rows that measure time or memory come last, by themselves
(default: %(default)s)"""
PARTS = {"release": RELEASE, "weekly": WEEKLY, "all": ROWS}


def main() -> int:
    """Do what the arguments say. 0: nothing is broken; 1: a row is; 2: wrong usage."""
    # Thousands of daemons are started: only the first has to compile the program.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    parser = argparse.ArgumentParser(
        "python -m tests.scorecard", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="show the rows and what each would do")
    parser.add_argument(
        "--row", action="append", default=[], metavar="ID", help="run this row; more than once for more"
    )
    parser.add_argument(
        "--part", choices=sorted(PARTS), help="run the rows of a release (A, B, E) or of a week (C, D, S)"
    )
    parser.add_argument(
        "--count", type=int, default=0, metavar="N", help="so many faults (default: the row's figure)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="repeat a run (default: drawn, and printed)"
    )
    parser.add_argument(
        "--minutes", type=float, default=0, metavar="M", help="begin no fault after that time"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help=LANES)
    parser.add_argument(
        "--again", action="store_true", help="run rows again that have a result at this commit"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("scorecard.jsonl"), metavar="FILE", help="%(default)s"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page")
    asked = parser.parse_args()
    if asked.list:
        show(ROWS)
        return 0
    known = {row.id: row for row in ROWS}
    if unknown := [name for name in asked.row if name not in known]:
        parser.error(f"no row {', '.join(unknown)}; --list shows them")
    rows = [known[name] for name in asked.row] or list(PARTS[asked.part] if asked.part else ())
    if not rows and not asked.write:
        parser.error("nothing to do: --list, --row, --part or --write")
    good = True
    if rows:
        again = asked.again or bool(asked.row)
        good = Runner(asked.results, asked.seed, asked.count, asked.minutes, again, asked.jobs).run(rows)
    if asked.write:
        write(asked.write, ROWS, read_results(asked.results))
        print(f"{asked.write} written from {asked.results}")
    return 0 if good else 1


def show(rows: tuple[Row, ...]) -> None:
    """Print a line for each row."""
    for row in rows:
        how = (
            f"not run: {row.missing}"
            if row.missing
            else "own"
            if row.run
            else f"tests: {', '.join(row.tests)}"
        )
        wanted = f" [{row.full}]" if row.full else ""
        print(f"{row.id:4} {row.sentence}{wanted}\n     {row.figure}; {how[:150]}")


if __name__ == "__main__":
    sys.exit(main())
