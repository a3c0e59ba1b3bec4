"""A bare FastAPI route on uvicorn, in a process of its own: the floor of every request over HTTP."""

import sys

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse


def main(port: int) -> None:
    """Answer `GET` and `POST /<items>` with so many items of a JSON list, each of about 100 bytes."""
    app = FastAPI(openapi_url=None)
    app.add_api_route("/{items}", _answer, methods=["GET", "POST"])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


async def _answer(items: int) -> JSONResponse:
    return JSONResponse([{"number": number, "text": "x" * 76} for number in range(items)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
