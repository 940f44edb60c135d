"""Talks to the running gateway through its loopback HTTP API and token file.  Standard library only."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from gateway.errors import LinegateError, Refused
from gateway.model import Json


class Client:
    """One gateway, as the CLI, the demo and tests reach it.  Calls block for at most `timeout_s`."""

    def __init__(self, token_file: Path, *, person: str = "", password: str = "", timeout_s: float = 15.0) -> None:
        self._token_file = token_file
        self._timeout_s = timeout_s
        self._person = person
        self._password = password
        self._session = ""

    def login(self) -> None:
        """Prove name and password once; later calls that need no signature go by the session."""
        self._session = str(self._ask("POST", "/api/v1/login", {}, signed=True)["session"])

    def command(self, name: str, /, *, signed: bool = False, **arguments: Json) -> Json:
        """Give a command.  Raises Refused with the gateway's own words."""
        return self._ask("POST", f"/api/v1/command/{quote(name)}", arguments, signed=signed)["result"]

    def status(self, *of: str) -> dict[str, Json]:
        """The line at a glance, or the parts of it that are named: `halts`, `alarms`, `batch`, `latest`..."""
        asked = urlencode([("of", part) for part in of])
        return self._ask("GET", f"/api/v1/status?{asked}" if of else "/api/v1/status", None)

    def _ask(self, method: str, path: str, body: Json, *, signed: bool = False) -> dict[str, Json]:
        where, token = self._door()
        link = http.client.HTTPConnection(where, timeout=self._timeout_s)
        try:
            payload = None if body is None else json.dumps(body)
            headers = {key: text.encode() for key, text in self._headers(token, signed=signed).items()}
            link.request(method, path, payload, headers)
            answer = link.getresponse()
            document = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LinegateError(f"the gateway at {where} does not answer ({error}); is it running?") from error
        finally:
            link.close()
        if answer.status != 200:
            facts = {key: value for key, value in document.items() if key not in ("ok", "code", "message")}
            raise Refused(document.get("code", "failed"), document.get("message", str(document)), **facts)
        return document  # type: ignore[no-any-return]

    def _door(self) -> tuple[str, str]:
        try:
            url, token = self._token_file.read_text().split()
        except (OSError, ValueError):
            raise LinegateError(
                f"no running gateway: {self._token_file} is not there; start one with `linegate run line.yaml`, "
                f"or name its state folder with --state"
            ) from None
        return urlsplit(url).netloc, token

    def _headers(self, token: str, *, signed: bool) -> Mapping[str, str]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if self._session and not signed:
            return {**headers, "X-Linegate-Session": self._session}
        if self._person and self._password:
            return {**headers, "X-Linegate-Person": self._person, "X-Linegate-Password": self._password}
        return headers
