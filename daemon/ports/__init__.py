"""What the core needs of the world. Each Protocol says what is promised and which of our errors are raised."""

from daemon.ports.access import Gate
from daemon.ports.hints import HintReader
from daemon.ports.ledger import Outgoing, Publisher, Store, StoredCommand, Unit
from daemon.ports.media import MediaFetcher, MediaStore, OpenUpload
from daemon.ports.neighbours import Introducer, Neighbour, Places
from daemon.ports.platforms import MediaProbe, OpenMedia, PlatformUploader, Vault
from daemon.ports.runtime import Bus, Clock, Ids, ServiceManager, Supervisor, Timer
from daemon.ports.sessions import Browser, OpenBrowser, Pictures, Profiles

__all__ = [
    "Browser",
    "Bus",
    "Clock",
    "Gate",
    "HintReader",
    "Ids",
    "Introducer",
    "MediaFetcher",
    "MediaProbe",
    "MediaStore",
    "Neighbour",
    "OpenBrowser",
    "OpenMedia",
    "OpenUpload",
    "Outgoing",
    "Pictures",
    "Places",
    "PlatformUploader",
    "Profiles",
    "Publisher",
    "ServiceManager",
    "Store",
    "StoredCommand",
    "Supervisor",
    "Timer",
    "Unit",
    "Vault",
]
