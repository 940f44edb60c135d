"""The loopback HTTP API: the door of the CLI and of the line's PC.

Every request carries the token of the token file (it proves the local user); a person proves itself with name and
password, in this request (`X-Linegate-Person`, `X-Linegate-Password`) or earlier (`X-Linegate-Session`).
"""

from __future__ import annotations

import hmac
import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.commands.commands import execute
from gateway.console.sessions import Sessions
from gateway.desk import Desk
from gateway.errors import Refused
from gateway.model import Json, Principal

log = structlog.get_logger()

CODES = {
    "bad_token": 401,
    "bad_host": 403,
    "bad_login": 401,
    "not_allowed": 403,
    "wrong_door": 403,
    "password_needed": 401,
    "too_many_attempts": 429,
    "unknown_command": 404,
    "not_found": 404,
    "bad_arguments": 422,
    "too_large": 413,
    "busy": 503,
    "not_recorded": 503,
}
"""Refusal code -> HTTP status; any other refusal is 409: the line is not in the state for it."""


LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # looked at, not bound
LARGEST_BODY = 1 << 20


def build(desk: Desk, token: str, sessions: Sessions) -> FastAPI:
    """The application; nothing is listened on here."""
    api = FastAPI(title="Linegate", docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json")
    api.add_exception_handler(Refused, _refused)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(Exception, _bug)
    api.add_middleware(_Guard, token=token, listens=desk.settings.gateway.console.host.lower())
    _commands(api, desk, sessions)
    _views(api, desk)
    return api


async def _refused(request: Request, refusal: Exception) -> JSONResponse:
    del request
    assert isinstance(refusal, Refused)
    document = {"ok": False, "code": refusal.code, "message": str(refusal), **refusal.facts}
    return JSONResponse(document, CODES.get(refusal.code, 409))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    """What the router says itself: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = "not_found" if error.status_code == 404 else "bad_request"
    text = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse({"ok": False, "code": code, "message": text}, error.status_code)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    """A bug of ours costs one answer; the traceback is in the log."""
    log.error("console failed", path=request.url.path, exc_info=error)
    text = f"the gateway failed on this request ({type(error).__name__}); its log says where"
    return JSONResponse({"ok": False, "code": "failed", "message": text}, 500)


class _Guard:
    """Every request carries the token, and asks for this machine by its own name (no DNS rebinding)."""

    def __init__(self, app: ASGIApp, token: str, listens: str) -> None:
        self._app = app
        self._token = token.encode()
        self._listens = listens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def kept_nowhere(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, kept_nowhere)
        else:
            answer = await _refused(Request(scope), refusal)
            await answer(scope, receive, send)

    def _refusal(self, headers: Headers) -> Refused | None:
        if not _is_ours(_host(headers.get("host", "")), self._listens):
            return Refused("bad_host", "ask for this machine by its own name, 127.0.0.1")
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token):
            return Refused("bad_token", "the token of the gateway's token file is needed: Authorization: Bearer TOKEN")
        return None


def _commands(api: FastAPI, desk: Desk, sessions: Sessions) -> None:
    async def principal(request: Request) -> tuple[Principal, bool]:
        name, password = (_text(request.headers.get(f"x-linegate-{key}", "")) for key in ("person", "password"))
        if name and password:
            return await desk.authenticate(name, password), True
        session = request.headers.get("x-linegate-session", "")
        return (sessions.person(session) if session else Principal("", frozenset(), "http")), False

    @api.post("/api/v1/command/{name}")
    async def command(name: str, request: Request) -> Any:
        body = await _body(request)  # first: while it comes, a person may be changed
        who, proven = await principal(request)
        return {"ok": True, "result": await execute(desk, name, body, who, proven=proven)}

    @api.post("/api/v1/login")
    async def login(request: Request) -> Any:
        who, proven = await principal(request)
        if not proven:
            raise Refused("bad_login", "give X-Linegate-Person and X-Linegate-Password")
        return {"ok": True, "session": sessions.open(who)}


def _text(header: str) -> str:
    """Names and passwords of any script come in UTF-8; whoever sends Latin-1 is understood, too."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _host(header: str) -> str:
    """The name in a Host header, without its port: `127.0.0.1:8377`, `[::1]:8377`."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


def _is_ours(host: str, listens: str) -> bool:
    """Loopback and the configured address; listening on all, any address, but no name: names can be rebound."""
    if host in LOCAL_NAMES or host == listens:
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return listens in EVERYWHERE


async def _body(request: Request) -> dict[str, Json]:
    """The arguments: a JSON object of reasonable size.  Raises Refused."""
    text = b""
    async for chunk in request.stream():
        text += chunk
        if len(text) > LARGEST_BODY:
            raise Refused("too_large", f"the arguments are larger than {LARGEST_BODY} bytes")
    try:
        document = json.loads(text or b"{}")
    except (ValueError, RecursionError) as error:
        raise Refused("bad_arguments", f"the arguments are not JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refused("bad_arguments", "the arguments are a JSON object")
    return document


def _views(api: FastAPI, desk: Desk) -> None:
    @api.get("/api/v1/status")
    async def status(request: Request) -> Response:
        text = await desk.glance.text(request.query_params.getlist("of"))
        return Response(text, media_type="application/json")

    @api.get("/api/v1/board")
    async def board() -> Any:
        return {topic: desk.journal.board.get(topic) for topic in desk.journal.board}

    @api.get("/metrics")
    async def metrics() -> Response:
        from gateway.console.metrics import AlarmMetrics  # noqa: PLC0415  # a line nobody scrapes does not pay for it

        page = AlarmMetrics(desk.line.alarms).text(desk.now_ns())
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/api/v1/batches/{batch}/{what}")
    async def download(batch: str, what: str) -> Response:
        paths = await desk.export(batch)
        if what not in paths:
            raise Refused("not_found", "there is report and bundle")
        return FileResponse(Path(paths[what]))
