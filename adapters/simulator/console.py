"""The simulator's own routes, under `/_simulator`: users, settings, tokens, logins, faults, clock, ledger."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, HTTPException
from pydantic import BaseModel, ConfigDict, ValidationError

from . import site_logins
from .faults import Fault
from .oauth import issue_tokens
from .options import ALL_SCOPES
from .records import Post, Status, Token, User
from .world import World, world_of

router = APIRouter(prefix="/_simulator")
Here = Annotated[World, Depends(world_of)]
Fields = Annotated[dict[str, Any], Body()]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TokenRequest(_Request):
    """Who is to get a pair of tokens."""

    user: str = "demo"
    scopes: list[str] = list(ALL_SCOPES)


class UserRequest(_Request):
    """Whom it is about."""

    user: str


class ExpiryRequest(UserRequest):
    """Whose tokens are to expire, and of which kind."""

    what: Literal["access", "refresh"]


class ClockRequest(_Request):
    """How far to move the clock."""

    advance_seconds: float


class PostRequest(_Request):
    """What to make of a post."""

    status: Status
    fail_reason: str | None = None
    post_id: int | list[int] | None = None


def _user(world: World, name: str) -> User:
    if name not in world.state.users:
        raise HTTPException(404, f"there is no user {name!r}")
    return world.state.users[name]


@router.get("/health")
async def health(world: Here) -> dict[str, Any]:
    """Say that the simulator answers, and where."""
    return {"status": "ok", "url": world.url, "now": world.state.now()}


@router.get("/ledger")
async def read_ledger(world: Here) -> dict[str, Any]:
    """Return what the simulator saw."""
    world.progress.advance_all()
    return world.ledger.digest()


@router.post("/users")
async def put_user(world: Here, fields: Fields) -> User:
    """Create a user, or change the given fields of one."""
    name = str(fields.get("name", ""))
    if not name:
        raise HTTPException(422, "a user needs a name")
    base = world.state.users.get(name) or User.named(name)
    try:
        user = User.model_validate(base.model_dump() | fields)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from None
    world.state.put(user)
    world.progress.watch_all()
    return user


@router.get("/users")
async def list_users(world: Here) -> list[User]:
    """Return all users."""
    return list(world.state.users.values())


@router.get("/settings")
async def read_settings(world: Here) -> dict[str, Any]:
    """Return what holds now."""
    return world.settings.model_dump()


@router.post("/settings")
async def change_settings(world: Here, changes: Fields) -> dict[str, Any]:
    """Change the given settings, all or none."""
    world.progress.advance_all()
    try:
        world.state.change_settings(changes)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from None
    world.progress.watch_all()
    return world.settings.model_dump()


@router.post("/tokens")
async def mint_tokens(world: Here, asked: TokenRequest) -> dict[str, Any]:
    """Return a pair of tokens without the OAuth round."""
    _user(world, asked.user)
    return issue_tokens(world, asked.user, asked.scopes)


@router.post("/rotate_tokens")
async def rotate_tokens(world: Here, asked: UserRequest) -> dict[str, int]:
    """Kill the user's access tokens; the refresh tokens live on."""
    return _expire(world, world.state.tokens_of(_user(world, asked.user).name, "access"))


@router.post("/expire")
async def expire_tokens(world: Here, asked: ExpiryRequest) -> dict[str, int]:
    """Let the user's tokens of one kind expire now."""
    return _expire(world, world.state.tokens_of(_user(world, asked.user).name, asked.what))


def _expire(world: World, tokens: list[Token]) -> dict[str, int]:
    for token in tokens:
        token.expires_at = min(token.expires_at, world.state.now())
        world.state.put(token)
    return {"expired": len(tokens)}


@router.get("/site")
async def read_site(world: Here) -> dict[str, Any]:
    """Return the live logins of the website, and how often each of its paths was asked for."""
    logins = [{"user": login.user, "created": login.created_at} for login in site_logins.live(world)]
    return {"logins": logins, "requests": dict(world.site_visits)}


@router.post("/site/login")
async def log_in_to_site(world: Here, asked: UserRequest) -> dict[str, str]:
    """Return the `sessionid` of a new login, made without a browser."""
    return {"sessionid": site_logins.log_in(world, _user(world, asked.user).name).sessionid}


@router.post("/site/revoke")
async def revoke_site_logins(world: Here, asked: UserRequest) -> dict[str, int]:
    """End all logins of a user on the website; the browsers keep their cookies."""
    return {"revoked": site_logins.revoke(world, _user(world, asked.user).name)}


@router.get("/faults")
async def list_faults(world: Here) -> list[Fault]:
    """Return what is left of the script."""
    return world.faults.left()


@router.post("/faults")
async def script_faults(world: Here, faults: list[Fault] | Fault) -> list[Fault]:
    """Append to the script."""
    world.faults.add(faults if isinstance(faults, list) else [faults])
    return world.faults.left()


@router.delete("/faults")
async def clear_faults(world: Here) -> list[Fault]:
    """Forget the script."""
    world.faults.clear()
    return []


@router.post("/clock")
async def advance_clock(world: Here, asked: ClockRequest) -> dict[str, float]:
    """Shift the simulator's idea of now."""
    world.state.advance_clock(asked.advance_seconds)
    world.progress.watch_all()
    return {"now": world.state.now()}


@router.post("/posts/{publish_id}")
async def force_post(world: Here, publish_id: str, asked: PostRequest) -> dict[str, Any]:
    """Set a post's status by decree."""
    post = world.state.posts.get(publish_id)
    if post is None:
        raise HTTPException(404, "there is no such post")
    ids = [asked.post_id] if isinstance(asked.post_id, int) else asked.post_id
    world.progress.force(post, asked.status, asked.fail_reason, ids)
    return _shown(post)


@router.get("/posts")
async def list_posts(world: Here) -> list[dict[str, Any]]:
    """Return all posts, without their upload tokens."""
    world.progress.advance_all()
    return [_shown(post) for post in world.state.posts.values()]


def _shown(post: Post) -> dict[str, Any]:
    return post.model_dump(exclude={"upload_token"})


@router.post("/reset")
async def reset(world: Here) -> dict[str, str]:
    """Wipe everything."""
    world.wipe()
    return {"status": "ok"}
