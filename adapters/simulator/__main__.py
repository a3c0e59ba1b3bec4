"""`python -m adapters.simulator`: the simulator as a process of its own."""

import argparse
import gc
import json
import sys
from pathlib import Path
from typing import Any


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="adapters.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--client-key", default="sim-client")
    parser.add_argument("--client-secret", default="sim-secret")
    parser.add_argument("--user", action="append", dest="users", help="a private account; may be repeated")
    parser.add_argument("--redirect-uri", action="append", dest="redirect_uris", help="may be repeated")
    parser.add_argument("--discard-uploads", action="store_true", help="hash uploads, keep no bytes")
    parser.add_argument("--fsync", action="store_true", help="let the ledger survive a power cut as well")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a setting")
    return parser


def _settings(pairs: list[str]) -> dict[str, Any]:
    settings = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = value
    return settings


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM; prints one line once it accepts connections."""
    given = vars(_parser().parse_args(arguments))
    gc.disable()  # there is no garbage among modules, and looking for it costs a third of the start
    from pydantic import ValidationError  # noqa: PLC0415

    from .options import SimulatorOptions  # noqa: PLC0415
    from .server import serve  # noqa: PLC0415 - FastAPI

    gc.freeze()
    gc.enable()
    port, state_dir, pairs = given.pop("port"), given.pop("state_dir"), given.pop("set")
    fields = {name: value for name, value in given.items() if value is not None}
    try:
        options = SimulatorOptions.model_validate(fields | {"settings": _settings(pairs)})
        return serve(port, state_dir, ready=_announce, options=options)
    except (OSError, ValidationError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _announce(url: str) -> None:
    sys.stdout.write(f"simulator ready at {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
