"""Tasks: finished work of another service. Tell of one, look at it, post its video, see what became of the post."""

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from adapters.http.bodies import ListTasks, NoQuery, PostToTiktok, SubmitTask, TaskChanges
from adapters.http.door import CommandRefused
from adapters.http.openapi import asks, gives, takes
from adapters.http.orders import LATER, order
from adapters.http.parts import Caller, parts_of
from adapters.http.reading import read_body, read_query
from daemon.domain.access import Claims, http_actor
from daemon.domain.errors import Code, Rejected

router = APIRouter()

TASKS = "/api/v1/tasks"
_ID = re.compile(r"t_[A-Za-z0-9]{1,40}")
_POST_STATUS = (
    "publish_id", "status", "state", "fail_reason", "post_url", "post_id", "uploaded_bytes", "downloaded_bytes",
)  # fmt: skip


@router.post(
    TASKS, responses=gives(201, "Written down.") | LATER, status_code=201, openapi_extra=takes(SubmitTask)
)
async def submit(request: Request, caller: Caller) -> JSONResponse:
    """Tell of a task, finished or not. It belongs to the caller."""
    read_query(request, NoQuery)
    args = await read_body(request, SubmitTask)
    return await order(request, caller, "task/submit", args, status=201, place=_place, shape=_named)


@router.get(TASKS, responses=gives(200), openapi_extra=asks(ListTasks))
async def list_tasks(request: Request, caller: Caller) -> JSONResponse:
    """Return the caller's tasks, newest first; `cursor` continues the list."""
    args = read_query(request, ListTasks).model_dump(mode="json", exclude_none=True)
    found = await parts_of(request).door.result(http_actor(caller.user), "task/list", args)
    return JSONResponse(found | {"tasks": [_named(task) for task in found["tasks"]]})


@router.get(TASKS + "/{task}", responses=gives(200))
@router.get(TASKS + "/{task}/detail", responses=gives(200))
async def show(request: Request, caller: Caller, task: str) -> JSONResponse:
    """Return everything about one task, and how far its post is."""
    read_query(request, NoQuery)
    return JSONResponse(_named(await _shown(request, caller, task)))


@router.patch(TASKS + "/{task}", responses=gives(200) | LATER, openapi_extra=takes(TaskChanges))
async def update(request: Request, caller: Caller, task: str) -> JSONResponse:
    """Tell how a task goes on."""
    read_query(request, NoQuery)
    args = await read_body(request, TaskChanges)
    return await order(request, caller, "task/update", args | {"task": _known(task)}, shape=_named)


@router.post(
    TASKS + "/{task}/post-to-tiktok", responses=gives(200) | LATER, openapi_extra=takes(PostToTiktok)
)
async def post_to_tiktok(request: Request, caller: Caller, task: str) -> JSONResponse:
    """Post a completed task's video, now or at a time; once, unless that post fails or is cancelled."""
    read_query(request, NoQuery)
    args = await read_body(request, PostToTiktok)
    try:
        return await order(request, caller, "task/post", args | {"task": _known(task)}, shape=_ordered)
    except CommandRefused as refused:
        if refused.error.get("field") != "args.account":
            raise
        raise CommandRefused({**refused.error, "field": "args.account_id"}) from None


@router.get(TASKS + "/{task}/post-status", responses=gives(200))
async def post_status(request: Request, caller: Caller, task: str) -> JSONResponse:
    """Return how far the task's post is."""
    read_query(request, NoQuery)
    status = (await _shown(request, caller, task))["post_status"]
    if status is None:
        raise Rejected(Code.NO_SUCH_POST, f"task {task} has no post yet; post-to-tiktok orders one")
    return JSONResponse({name: status[name] for name in _POST_STATUS})


async def _shown(request: Request, caller: Claims, task: str) -> dict[str, Any]:
    return await parts_of(request).door.result(http_actor(caller.user), "task/status", {"task": _known(task)})


def _known(task: str) -> str:
    if not _ID.fullmatch(task):
        raise Rejected(Code.NO_SUCH_TASK, "there is no such task; GET /api/v1/tasks shows yours")
    return task


def _place(result: dict[str, Any]) -> str:
    return f"{TASKS}/{result['task']}"


def _named(task: dict[str, Any]) -> dict[str, Any]:
    """Return the task under the name that its post's answer has for it, too."""
    return {"task_id": task["task"]} | task


def _ordered(result: dict[str, Any]) -> dict[str, Any]:
    return {
        "success": True,
        "publish_id": result["publish_id"],
        "status": result["status"],
        "message": f"post {result['post']} to {result['account']} is {result['state']} for {result['at']}",
        "task_id": result["task"],
        "post_id": result["post"],
    }
