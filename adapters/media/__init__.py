"""Media: files inside the configured roots, what is uploaded and fetched into them, and whom a platform may ask."""

from adapters.media.hosts import Hosts
from adapters.media.library import MediaLibrary
from adapters.media.remote import FetchSettings, RemoteFiles
from adapters.media.store import FileStore, StoreSettings

__all__ = ["FetchSettings", "FileStore", "Hosts", "MediaLibrary", "RemoteFiles", "StoreSettings"]
