"""Another system has come to the broker: say everything again, states first."""

from daemon.domain.reports import NeighbourCame
from daemon.handlers.broker_joined import publish_all
from daemon.handlers.context import Context


def handle(report: NeighbourCame, context: Context) -> None:  # noqa: ARG001 - it says nothing more
    """Publish the states and the introduction; the gateway says `online` after them."""
    publish_all(context)
