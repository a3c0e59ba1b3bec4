"""`make audit`: is a known weakness in one of the packages that tokd is installed with?

0: every pin was looked up, and nothing is known; 1: something is known; 2: not every pin could be looked up. The last
is never taken for the first: pip-audit by itself passes over what its source does not answer.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

CLEAN, WEAK, NOT_AUDITED = 0, 1, 2
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(text: str) -> list[tuple[str, str]]:
    """Return names and versions of a list of pins, whatever system or Python each of them is for."""
    return [(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in _PIN.findall(text)]


def verdict(wanted: list[tuple[str, str]], report: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code, and what to say about it."""
    asked: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for found in report.get("dependencies", []):
        if "vulns" in found:  # what was skipped has a reason in its place
            asked[re.sub(r"[-_.]+", "-", found["name"]).lower(), found["version"]] = found["vulns"]
    known = [
        f"{name} {version}: {weakness['id']}, mended in {', '.join(weakness.get('fix_versions') or ['no version'])}"
        for (name, version), weaknesses in sorted(asked.items())
        for weakness in weaknesses
    ]
    if known:
        return WEAK, known
    unknown = [f"{name} {version}" for name, version in wanted if (name, version) not in asked]
    if unknown or not wanted:
        reasons = {found["skip_reason"] for found in report.get("dependencies", []) if "skip_reason" in found}
        told = (
            f"{len(unknown)} of {len(wanted)} packages could not be audited, such as {', '.join(unknown[:3])}"
        )
        return NOT_AUDITED, [told, *sorted(reasons)[:1]]
    return CLEAN, [f"nothing is known about the {len(wanted)} packages"]


def ask(wanted: list[tuple[str, str]]) -> tuple[dict[str, Any], str]:
    """Return pip-audit's report, and what it says where it has none."""
    report: dict[str, Any] = {"dependencies": []}
    # One list can have two versions of a package, for two versions of Python; pip-audit takes one at a time.
    for part in _without_repeats(wanted):
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--progress-spinner=off", "--format=json",
             "-r", "/dev/stdin"],
            input="".join(f"{name}=={version}\n" for name, version in part), capture_output=True, text=True, check=False,
        )  # fmt: skip
        try:
            report["dependencies"] += json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            return report, lines[-1] if lines else f"pip-audit ended with {done.returncode}"
    return report, ""


def _without_repeats(wanted: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    parts: list[dict[str, str]] = []
    for name, version in dict.fromkeys(wanted):
        part = next((part for part in parts if name not in part), None)
        if part is None:
            parts.append(part := {})
        part[name] = version
    return [list(part.items()) for part in parts]


def main(paths: list[str]) -> int:
    """Audit these lists of pins."""
    wanted = list(dict.fromkeys(pin for path in paths for pin in pins(Path(path).read_text())))
    report, trouble = ask(wanted)
    code, lines = verdict(wanted, report)
    for line in (*lines, *([trouble] if trouble else [])):
        print(f"{' '.join(paths)}: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
