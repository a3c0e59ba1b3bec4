"""What `make audit` makes of pip-audit's report: only what was looked up counts as looked up."""

import subprocess
import sys

from tests.daemons import ROOT
from tests.supply.audit import CLEAN, NOT_AUDITED, WEAK, pins, verdict

WANTED = [("one", "1.0"), ("two-more", "2.0")]
KNOWN = {"id": "GHSA-xxxx", "fix_versions": ["1.1"]}


def report(*found: dict[str, object]) -> dict[str, object]:
    return {"dependencies": list(found)}


def test_packages_that_were_all_looked_up_are_clean() -> None:
    told = report(
        {"name": "one", "version": "1.0", "vulns": []}, {"name": "Two_More", "version": "2.0", "vulns": []}
    )

    assert verdict(WANTED, told)[0] == CLEAN


def test_a_package_that_was_passed_over_is_not_clean() -> None:
    told = report(
        {"name": "one", "version": "1.0", "vulns": []}, {"name": "two-more", "skip_reason": "not found there"}
    )

    code, lines = verdict(WANTED, told)

    assert code == NOT_AUDITED
    assert lines == ["1 of 2 packages could not be audited, such as two-more 2.0", "not found there"]


def test_another_version_does_not_stand_for_the_one_that_is_installed() -> None:
    told = report(
        {"name": "one", "version": "1.1", "vulns": []}, {"name": "two-more", "version": "2.0", "vulns": []}
    )

    assert verdict(WANTED, told)[0] == NOT_AUDITED


def test_a_list_in_which_nothing_was_read_is_not_clean() -> None:
    assert verdict([], report())[0] == NOT_AUDITED


def test_a_known_weakness_is_named_though_others_were_not_looked_up() -> None:
    code, lines = verdict(WANTED, report({"name": "one", "version": "1.0", "vulns": [KNOWN]}))

    assert code == WEAK
    assert lines == ["one 1.0: GHSA-xxxx, mended in 1.1"]


def test_every_pin_of_the_installation_is_asked_about() -> None:
    text = (ROOT / "requirements/run.txt").read_text()

    found = pins(text)

    assert len(found) == len([line for line in text.splitlines() if line[:1].isalpha()])
    assert ("undetected-chromedriver", "3.5.5") in found
    assert len([version for name, version in found if name == "av"]) == 2, "one for each version of Python"


def test_without_pip_audit_it_says_so_and_fails() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.supply.audit", "requirements/build.txt"], cwd=ROOT, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip

    assert done.returncode == NOT_AUDITED
    assert "could not be audited" in done.stdout
    assert "pip_audit" in done.stdout
