"""The edge to asyncua: plain Python in, its types out, and the few numbers of namespace 0 we name.

asyncua's annotations ask for its own integer and string types where plain ones work; the casts stand here, once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

OBJECTS_FOLDER: Final = 85
HAS_TYPE_DEFINITION: Final = 40
STATE_TYPE: Final = 2307
FINITE_STATE_VARIABLE: Final = 2760
VALUE: Final = ua.attribute_ids.AttributeIds.Value
GOOD: Final = StatusCodes.Good
BAD_STATE_NOT_ACTIVE: Final = StatusCodes.BadStateNotActive
BAD_INVALID_STATE: Final = StatusCodes.BadInvalidState
BAD_SENSOR_FAILURE: Final = StatusCodes.BadSensorFailure
BAD_WRITE_NOT_SUPPORTED: Final = StatusCodes.BadWriteNotSupported
TooManySessions: Final = ua.uaerrors.BadTooManySessions
Untrusted: Final = ua.uaerrors.BadCertificateUntrusted


def node_id(identifier: int | str, index: int = 0) -> ua.NodeId:
    """Node id in the namespace with this index."""
    return ua.NodeId(cast("Any", identifier), cast("Any", index))


def status(code: int) -> ua.StatusCode:
    return ua.StatusCode(cast("Any", code))


def good(value: object, kind: ua.VariantType | None = None) -> ua.DataValue:
    """A value with both time stamps."""
    now = cast("Any", datetime.now(UTC))
    return ua.DataValue(ua.Variant(value, cast("Any", kind)), SourceTimestamp=now, ServerTimestamp=now)


def doubted(value: object, kind: ua.VariantType | None, code: int) -> ua.DataValue:
    """A value that is still there, under a status that says not to trust it."""
    now = cast("Any", datetime.now(UTC))
    held = ua.Variant(value, cast("Any", kind))
    return ua.DataValue(held, StatusCode=status(code), SourceTimestamp=now, ServerTimestamp=now)


def bad(code: int) -> ua.DataValue:
    """No value, and why."""
    return ua.DataValue(StatusCode=status(code), SourceTimestamp=cast("Any", datetime.now(UTC)))
