"""InfluxQL over HTTP, as Grafana asks it."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode


def query(port: int, text: str, database: str = "line") -> list[dict[str, Any]]:
    """The series of one statement.  AssertionError where the server refuses it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/query?" + urlencode({"db": database, "q": text, "epoch": "ns"}))
        document = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    assert "error" not in document, f"{text}: {document}"
    [result] = document["results"]
    assert "error" not in result, f"{text}: {result}"
    series: list[dict[str, Any]] = result.get("series", [])
    return series


def rows(port: int, text: str, database: str = "line") -> list[dict[str, Any]]:
    """The rows of the first series, by column."""
    series = query(port, text, database)
    return [dict(zip(series[0]["columns"], row, strict=True)) for row in series[0]["values"]] if series else []
