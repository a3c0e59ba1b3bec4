"""Which pages in a browser may call tokd, and what a browser is told about it (CORS)."""

from collections.abc import Mapping, Sequence

METHODS = "GET, POST, PATCH, DELETE"
HEADERS = "authorization, content-type, idempotency-key, last-event-id"
EXPOSED = "location, retry-after, idempotency-key, idempotent-replayed"
_PREFLIGHT = {
    "access-control-allow-methods": METHODS,
    "access-control-allow-headers": HEADERS,
    "access-control-max-age": "600",
}
_OURS = frozenset({"same-origin", "none"})  # "none": typed by the person


class Origins:
    """The origins that count."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)

    def headers(self, request: Mapping[str, str]) -> dict[str, str]:
        """Return what every answer to this request carries, errors too."""
        found = {"vary": "Origin"} if self._allowed else {}
        if request.get("origin") in self._allowed:
            found |= {
                "access-control-allow-origin": request["origin"],
                "access-control-expose-headers": EXPOSED,
            }
        return found

    def preflight(self) -> dict[str, str]:
        """Return what the answer to a preflight carries besides."""
        return _PREFLIGHT

    def refuses(self, method: str, request: Mapping[str, str]) -> bool:
        """Tell whether a page that has no business here is behind this request."""
        origin = request.get("origin")
        if origin is not None:
            host = request.get("host", "")
            return origin not in self._allowed and origin not in {f"http://{host}", f"https://{host}"}
        # Another port of this machine is the "same site" to a browser, and another program to us.
        if request.get("sec-fetch-site", "none") in _OURS:
            return False
        # A link somewhere on the web may lead here: it carries no token. Anything else from there is refused, frames too.
        is_link = method == "GET" and request.get("sec-fetch-mode") == "navigate"
        return not is_link or request.get("sec-fetch-dest", "document") != "document"
