"""The page that a person sees when they come back from TikTok: whole in itself, and nothing on it but words of ours."""

import base64
import hashlib
from html import escape
from string import Template

from fastapi.responses import HTMLResponse

_STYLE = """
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: #f4f5f7; color: #16181d;
  font: 17px/1.5 system-ui, sans-serif; }
main { max-width: 34rem; margin: 1rem; padding: 2rem; background: #fff; border-radius: 12px; border: 1px solid #dfe1e5; }
h1 { margin: 0 0 .5rem; font-size: 1.4rem; }
.linked h1 { color: #0b6b3a; }
.failed h1 { color: #a3122f; }
li { margin: .3rem 0; }
"""
# The code and the state leave the address bar and the history at once. A window that a page has opened closes itself
# where all is well; any other stays, for a browser does not let it.
_SCRIPT = """
history.replaceState(null, "", location.pathname);
if (document.body.className === "linked") setTimeout(() => window.close(), 1500);
"""
_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="data:,">
<style>$style</style>
</head>
<body class="$kind">
<main>
<h1>$title</h1>
$words
</main>
<script>$script</script>
</body>
</html>
""")


def _source(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}  # Cache-Control: no-store stands on every answer (front.py)


def linked_page(account: str, warnings: list[str]) -> HTMLResponse:
    """Return the page that says that an account is linked, and what will not work all the same."""
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    words = f"<ul>{items}</ul>" if items else ""
    return _page("linked", f"{account} is linked", words + "<p>You can close this window.</p>", 200)


def failed_page(message: str, status: int) -> HTMLResponse:
    """Return the page that says that nothing was linked, why, and what to do."""
    words = f"<p>{escape(message[:1].upper() + message[1:])}.</p><p>You can close this window.</p>"
    return _page("failed", "Not linked", words, status)


def _page(kind: str, title: str, words: str, status: int) -> HTMLResponse:
    content = _PAGE.substitute(kind=kind, title=escape(title), words=words, style=_STYLE, script=_SCRIPT)
    return HTMLResponse(content, status, _HEADERS)
