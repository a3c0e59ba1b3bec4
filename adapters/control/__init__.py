"""The Unix socket that the command line speaks to: the server in the daemon, the client in the shell."""

from adapters.control.client import (
    ControlClient,
    ControlError,
    ControlRefused,
    DaemonNotRunning,
    NoFinalAnswer,
)
from adapters.control.server import ControlServer

__all__ = [
    "ControlClient",
    "ControlError",
    "ControlRefused",
    "ControlServer",
    "DaemonNotRunning",
    "NoFinalAnswer",
]
