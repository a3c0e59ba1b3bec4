"""`make sbom`: a CycloneDX list of what is installed in an environment. It gets its name only when it is complete."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_INSTALLED = "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))"
Pins = set[tuple[str, str]]


def installed(environment: Path) -> Pins:
    """Return names and versions of what an environment's own Python finds."""
    done = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", _INSTALLED], capture_output=True, text=True, check=True
    )
    return {(_normal(name), version) for name, version in json.loads(done.stdout)}


def listed(document: dict[str, Any]) -> Pins:
    """Return names and versions of a document's components."""
    return {(_normal(found["name"]), found["version"]) for found in document.get("components", [])}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(environment: Path, target: Path) -> int:
    """Write the list. 0: it is there and complete; 1: it is not, and none was written."""
    draft = target.with_name(f".{target.name}.new")
    done = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", "pyproject.toml", "--mc-type", "application",
         "--output-format", "JSON", "--output-reproducible", "--output-file", str(draft), str(environment)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        print(done.stderr.strip())
        return 1
    there, told = installed(environment), listed(json.loads(draft.read_text()))
    if missing := sorted(there - told):
        print("not in the list: " + ", ".join(f"{name} {version}" for name, version in missing))
        draft.unlink()
        return 1
    draft.replace(target)
    print(f"{target}: {len(told)} packages, all {len(there)} that are installed")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
