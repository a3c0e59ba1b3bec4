"""The HTML of the simulated website: complete in itself, everything foreign escaped, nothing loaded from outside."""

import json
from html import escape
from string import Template
from typing import Any

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
<body>
<p class="simulation" role="note">Simulation. This is not TikTok: nothing here leaves this machine.</p>
$body
</body>
</html>
""")

_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: #f7f7f8; color: #161823; font: 16px/1.5 system-ui, sans-serif; }
.simulation { position: sticky; top: 0; z-index: 1; margin: 0; padding: 6px 16px; background: #ffe08a; color: #4a3500;
  text-align: center; }
header { display: flex; gap: 24px; align-items: center; padding: 10px 24px; background: #fff;
  border-bottom: 1px solid #e3e3e4; }
header h1 { margin: 0; font-size: 20px; }
header form { flex: 1; max-width: 420px; }
input { width: 100%; padding: 9px 16px; border: 1px solid #d0d1d3; border-radius: 8px; font: inherit; }
#header-actions { display: flex; gap: 12px; align-items: center; margin-left: auto; min-height: 40px; }
button, .button { padding: 7px 18px; border: 0; border-radius: 8px; background: #d6204c; color: #fff;
  font: inherit; font-weight: 600; cursor: pointer; text-decoration: none; }
.quiet { background: #ececed; color: #161823; }
.avatar { width: 40px; height: 40px; padding: 0; border-radius: 50%; background: #0b7a75; }
.columns { display: flex; }
nav { display: flex; flex-direction: column; gap: 14px; width: 220px; padding: 24px; }
nav a { color: inherit; text-decoration: none; font-weight: 600; }
main { flex: 1; padding: 24px; }
article, .card { max-width: 480px; margin: 0 auto 20px; padding: 20px; background: #fff;
  border: 1px solid #e3e3e4; border-radius: 12px; }
.card label.scope { font-weight: 400; }
.card label.scope input { width: auto; }
main.card { margin-top: 40px; }
.film { height: 180px; border-radius: 8px; background: linear-gradient(135deg, #25293c, #0b7a75); }
.card label { display: block; margin: 14px 0 4px; font-weight: 600; }
.card button { width: 100%; margin-top: 20px; }
.wrong { padding: 8px 12px; border-radius: 8px; background: #fde8ec; color: #9d1233; }
.captcha-verify-container { position: fixed; inset: 0; display: grid; place-items: center;
  background: rgb(0 0 0 / 55%); }
"""

_FRONT = Template("""\
<header>
<h1>TikTok (simulated)</h1>
<form role="search"><input type="search" name="q" placeholder="Search" aria-label="Search"></form>
<div id="header-actions">$actions</div>
</header>
<div class="columns">
<nav aria-label="Main"><a href="/">For You</a><span id="side-actions"></span></nav>
<main>
<article><div class="film"></div><p>A walk by the river, told in thirty seconds.</p></article>
<article><div class="film"></div><p>Three ways to fold a paper crane.</p></article>
</main>
</div>
""")

_SHELL_BUTTON = '<button id="header-login-button" data-e2e="top-login-button" class="button" type="button">Log in</button>'

_SCRIPT = """
(() => {
  const plan = JSON.parse(document.getElementById("simulation-plan").textContent);
  const make = (tag, text, attributes) => {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const upload = () => make("a", "Upload", {
    "data-e2e": "upload-icon", "href": "/tiktokstudio/upload", "class": "button quiet"});
  const profile = (handle) => make("a", "Profile", {"data-e2e": "nav-profile", "href": "/@" + handle});
  const put = () => {
    const account = plan.account;
    const header = account === null
      ? [upload(), make("button", "Log in", {
          "id": "header-login-button", "data-e2e": "top-login-button", "type": "button"})]
      : [upload(), make("button", "Inbox", {"data-e2e": "inbox-icon", "type": "button", "class": "quiet"}),
         make("button", account.nickname.slice(0, 1), {
           "data-e2e": "profile-icon", "type": "button", "class": "avatar", "title": account.nickname})];
    const side = account === null
      ? [profile(""), make("button", "Log in", {"data-e2e": "nav-login-button", "type": "button"})]
      : [profile(encodeURIComponent(account.uniqueId)), make("a", "Log out", {"href": "/logout"})];
    document.getElementById("header-actions").replaceChildren(...header);
    document.getElementById("side-actions").replaceWith(...side);
  };
  document.addEventListener("click", (event) => {
    if (event.target.closest("#header-login-button, [data-e2e=nav-login-button]")) location.assign("/login");
  });
  addEventListener("load", () => {
    fetch(plan.infoUrl, {credentials: "include"}).then((answer) => answer.text()).catch(() => {});
    setTimeout(put, plan.putMs);
  });
})();
"""

_LOGIN = Template("""\
<main class="card">
<h1>Log in</h1>
$complaint
<form method="post" action="/login">
<label for="username">User name</label>
<input id="username" name="username" type="text" value="$name" maxlength="100" autocomplete="username"
  required autofocus>
<label for="password">Password (anything will do)</label>
<input id="password" name="password" type="password" maxlength="100" autocomplete="current-password">
<button type="submit" data-e2e="login-button">Log in</button>
</form>
</main>
""")

_WRONG = '<p class="wrong" role="alert" data-e2e="login-error">There is no such user here.</p>'

_CONSENT = Template("""\
<main class="card">
<h1>An app wants to use your account</h1>
<form method="post" data-e2e="consent">
<label for="user">Who are you? (simulated users)</label>
<select id="user" name="user">$choices</select>
<fieldset><legend>It may</legend>$boxes</fieldset>
<button type="submit" name="decision" value="authorize" data-e2e="authorize-button">Authorize</button>
<button type="submit" name="decision" value="cancel" class="quiet" data-e2e="cancel-button">Cancel</button>
</form>
</main>
""")

_CAPTCHA = """\
<main><p>Before you go on.</p></main>
<div class="captcha-verify-container" id="captcha-verify-container-main-page" data-e2e="captcha">
<div class="card"><p>Drag the slider to fit the puzzle</p><input type="range" aria-label="Slider"></div>
</div>
"""


def _page(body: str, title: str = "TikTok (simulated)") -> str:
    return _PAGE.substitute(title=escape(title), style=_STYLE, body=body)


def _data(name: str, content: dict[str, Any]) -> str:
    """Put JSON into a script element, so that no text in it can end the element."""
    text = json.dumps(content).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    return f'<script id="{name}" type="application/json">{text}</script>\n'


def _lively(plan: dict[str, Any]) -> str:
    return _data("simulation-plan", plan) + f"<script>{_SCRIPT}</script>"


def front(state: dict[str, Any], plan: dict[str, Any]) -> str:
    """Return the home page with its state; the script puts the rest."""
    body = _FRONT.substitute(actions="")
    return _page(body + _data("__UNIVERSAL_DATA_FOR_REHYDRATION__", state) + _lively(plan))


def skeleton(plan: dict[str, Any]) -> str:
    """Return the home page as a shell that first looks logged out."""
    return _page(_FRONT.substitute(actions=_SHELL_BUTTON) + _lively(plan))


def bare() -> str:
    """Return a page that tells nothing."""
    return _page("<main><h1>TikTok (simulated)</h1><p>Nothing to see yet.</p></main>")


def challenge() -> str:
    """Return a page under a captcha."""
    return _page(_CAPTCHA)


def trouble(status: int, phrase: str) -> str:
    """Return an error page."""
    return _page(f"<main><h1>{status} {escape(phrase)}</h1><p>Something went wrong.</p></main>")


def login_form(name: str = "", *, is_wrong: bool = False) -> str:
    """Return the login form, with what was typed before."""
    body = _LOGIN.substitute(name=escape(name), complaint=_WRONG if is_wrong else "")
    return _page(body, "Log in | TikTok (simulated)")


def consent_page(users: list[str], scopes: list[str]) -> str:
    """Return the page on which a person says who they are, what they allow, and whether at all."""
    choices = "".join(f'<option value="{escape(name)}">{escape(name)}</option>' for name in users)
    boxes = "".join(
        f'<label class="scope"><input type="checkbox" name="scope" value="{escape(scope)}" checked> '
        f"{escape(scope)}</label>"
        for scope in scopes
    )
    return _page(_CONSENT.substitute(choices=choices, boxes=boxes), "Authorize | TikTok (simulated)")


def studio(nickname: str) -> str:
    """Return the upload page."""
    body = (
        f'<main class="card"><h1>Upload video</h1><p data-e2e="studio-user">{escape(nickname)}</p>'
        '<p><a href="/">Home</a> <a href="/logout">Log out</a></p></main>'
    )
    return _page(body, "TikTok Studio (simulated)")


def elsewhere() -> str:
    """Return a page of another site."""
    return _page("<main><h1>Another site</h1><p>You have left.</p></main>", "Elsewhere (simulated)")
