"""Exit codes, and which of our errors ends in which."""

import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from adapters.control import ControlError, ControlRefused, DaemonNotRunning
from config.problems import ConfigError
from daemon.cli.output import print_refusal, say
from daemon.domain.errors import Rejected, StartRefused, TokdError

OK = 0
FAILED = 1
USAGE = 2
UNAVAILABLE = 69  # sysexits.h: EX_UNAVAILABLE, EX_SOFTWARE, EX_CONFIG
INTERNAL = 70
CONFIG = 78

VALUE_OPTIONS = ("-c", "--config", "--set")


class Commands(TyperGroup):
    """The root: takes its options anywhere, and turns errors into a sentence and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, with the global options moved to the front: people write them at the end."""
        return super().parse_args(ctx, hoist(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; no error of ours leaves as a traceback."""
        try:
            return super().invoke(ctx)
        except (TokdError, ConfigError) as error:
            raise typer.Exit(tell(error)) from error
        except (typer.Exit, typer.Abort, KeyboardInterrupt, BrokenPipeError):
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):  # click's own, such as a usage error
                raise
            traceback.print_exc(file=sys.stderr)
            say("this is a fault of tokd's command line; please report it", error=True)
            raise typer.Exit(INTERNAL) from error


def hoist(args: list[str]) -> list[str]:
    """Return the arguments with `--config X` and `--set K=V` first; nothing after `--` is touched."""
    front: list[str] = []
    rest: list[str] = []
    left = list(args)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*front, *rest, word, *left]
        if word in VALUE_OPTIONS and left:
            front += [word, left.pop(0)]
        elif word.startswith(("--config=", "--set=")):
            front.append(word)
        else:
            rest.append(word)
    return [*front, *rest]


def tell(error: Exception) -> int:
    """Print the error and return its exit code."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            say(str(problem), error=True)
        return CONFIG
    if isinstance(error, Rejected):
        print_refusal(error.as_dict())
        return FAILED
    if isinstance(error, ControlRefused):
        print_refusal(error.error)
        return FAILED
    say(str(error), error=True)
    if isinstance(error, DaemonNotRunning):
        return UNAVAILABLE
    if isinstance(error, StartRefused):
        return CONFIG
    return FAILED if isinstance(error, ControlError) else INTERNAL
