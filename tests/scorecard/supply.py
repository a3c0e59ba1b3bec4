"""S13: everything that is installed is listed, and tokd works where no other host can be reached."""

import json
import os
import subprocess
import sys

from tests.daemons import ROOT
from tests.scorecard.row import CannotRun, Task
from tests.supply.sbom import installed, listed

ENVIRONMENT = ROOT / ".venv-sbom"
LISTING = ROOT / "build/tokd.cdx.json"


def contents_and_silence(task: Task) -> None:
    """Compare the list of `make sbom` with what is installed, then start tokd in a network without a route."""
    _closed_network(task)
    _contents(task)


def _contents(task: Task) -> None:
    task.say("listing what is installed", every_s=0)
    for target in (".venv-audit/ready", ".venv-sbom/ready"):
        done = _make(target)
        if done.returncode != 0:
            raise CannotRun(f"`make {target}` did not get its packages: {_last(done)}")
    done = _make("sbom")
    if done.returncode != 0:
        task.tally.wrong.append(f"make sbom: {_last(done)}")
        return
    document = json.loads(LISTING.read_text())
    there, told = installed(ENVIRONMENT), listed(document)
    task.tally.cases += len(there)
    task.tally.figures["listed"] = f"{len(told & there)} of {len(there)} packages"
    task.tally.wrong += [
        f"installed and not listed: {name} {version}" for name, version in sorted(there - told)
    ]
    task.tally.wrong += [
        f"listed and not installed: {name} {version}" for name, version in sorted(told - there)
    ]
    if (document.get("bomFormat"), document["metadata"]["component"]["name"]) != ("CycloneDX", "tokd"):
        task.tally.wrong.append("the list is no CycloneDX document of tokd")
    # The control: a list without one package must not pass for a whole one.
    short = document | {"components": document["components"][1:]}
    if there - listed(short):
        task.tally.controls += 1
    else:
        task.tally.wrong.append("negative control: a list without a package passed")


def _make(target: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", target], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )


def _last(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].replace(str(ROOT), ".")[:300] if lines else f"it ended with {done.returncode}"


def _closed_network(task: Task) -> None:
    task.say("starting in a network without a route", every_s=0)
    apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
    try:
        subprocess.run([*apart, "true"], check=True, capture_output=True)
        subprocess.run(["strace", "-V"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotRun(f"it needs a network of its own (unshare --net) and strace: {error}") from error
    done = subprocess.run(
        [*apart, sys.executable, "-m", "tests.scorecard.closed_network", str(task.folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if done.returncode != 0:
        task.tally.wrong.append(f"in a network without a route: {done.stderr[-1500:]}")
        return
    told = json.loads(done.stdout.splitlines()[-1])
    task.tally.cases += 2
    task.tally.figures["calls"] = (
        f"{told['local']} within the machine, {len(told['elsewhere'])} to other hosts"
    )
    task.tally.wrong += [f"called {call}" for call in told["elsewhere"]]
    if told["local"] == 0:
        task.tally.wrong.append("not one call was seen, not even those to the simulator: nothing was watched")
    if told["state"] != "published":
        task.tally.wrong.append(f"without a network a post to the simulator became {told['state']}")
    if told["control"]:
        task.tally.controls += 1
    else:
        task.tally.wrong.append("negative control: a program that calls another host was not seen")
