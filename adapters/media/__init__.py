"""Media: files inside the configured roots, and addresses that the platform may be pointed at."""

from adapters.media.library import MediaLibrary

__all__ = ["MediaLibrary"]
