"""Who is logged in on the simulated website: logins, their cookies, and how an account looks there."""

import base64
import hashlib
import secrets
from typing import Any

from fastapi import Request, Response

from .records import SiteLogin, User
from .world import World

LOGIN_SECONDS = 60 * 86_400
LOGIN_COOKIES = ("sessionid", "sessionid_ss")
# JavaScript counts exactly up to 2**53; a user id must come through a browser unchanged.
_USER_ID_BITS = 52
_AVATAR = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


def log_in(world: World, user: str) -> SiteLogin:
    """Begin a login, on disk before this returns."""
    now = world.state.now()
    login = SiteLogin(
        sessionid=secrets.token_hex(16), user=user, created_at=now, expires_at=now + LOGIN_SECONDS
    )
    world.state.put(login)
    world.ledger.write("site", action="login", account=user, time=now)
    return login


def login_of(world: World, request: Request) -> SiteLogin | None:
    """Return the live login that the request's cookie names."""
    login = world.state.site_logins.get(request.cookies.get("sessionid", ""))
    return login if login is not None and _is_live(world, login) else None


def _is_live(world: World, login: SiteLogin) -> bool:
    return login.expires_at > world.state.now() and login.user in world.state.users


def live(world: World) -> list[SiteLogin]:
    """Return all live logins, the oldest first."""
    return [login for login in world.state.site_logins.values() if _is_live(world, login)]


def log_out(world: World, login: SiteLogin) -> None:
    """End one login."""
    world.state.drop(login)
    world.ledger.write("site", action="logout", account=login.user, time=world.state.now())


def revoke(world: World, user: str) -> int:
    """End all logins of a user and return how many there were."""
    ended = [login for login in live(world) if login.user == user]
    for login in ended:
        world.state.drop(login)
    world.ledger.write("site", action="revoke", account=user, count=len(ended), time=world.state.now())
    return len(ended)


def set_login_cookies(answer: Response, login: SiteLogin) -> None:
    """Give the browser its login: cookies that outlive it, and that no script can read."""
    for name in LOGIN_COOKIES:
        answer.set_cookie(
            name, login.sessionid, max_age=LOGIN_SECONDS, path="/", httponly=True, samesite="lax"
        )


def expire_login_cookies(answer: Response) -> None:
    """Take the login out of the browser."""
    for name in LOGIN_COOKIES:
        answer.delete_cookie(name, path="/", httponly=True, samesite="lax")


def _digest_of(user: User) -> bytes:
    return hashlib.sha256(f"site:{user.name}".encode()).digest()


def _user_id(user: User) -> int:
    return int.from_bytes(_digest_of(user)) >> (256 - _USER_ID_BITS)


def _sec_user_id(user: User) -> str:
    return f"MS4wLjABAAAA{base64.urlsafe_b64encode(_digest_of(user)).decode().rstrip('=')}"


def context_of(user: User) -> dict[str, str]:
    """Return the account as the state in a page has it."""
    return {
        "uid": str(_user_id(user)),
        "uniqueId": user.username,
        "nickname": user.nickname,
        "secUid": _sec_user_id(user),
    }


def info_of(user: User) -> dict[str, Any]:
    """Return the account as the info call has it."""
    return {
        "user_id": _user_id(user),
        "user_id_str": str(_user_id(user)),
        "sec_user_id": _sec_user_id(user),
        "username": user.username,
        "screen_name": user.nickname,
        "avatar_url": _AVATAR,
    }
