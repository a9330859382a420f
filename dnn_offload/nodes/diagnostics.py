"""What a node says of itself on ``/diagnostics``, as a message."""

from __future__ import annotations

from collections.abc import Mapping
import socket
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue


def diagnostics_message(
    node: str, level: bytes, message: str, values: Mapping[str, object], stamp: Any
) -> DiagnosticArray:
    """Make the message.

    Args:
        node: Full name of the node.
        level: One of ``DiagnosticStatus``'s.
        message: In words.
        values: Name to value; numbers are shortened.
        stamp: When.
    """
    status = DiagnosticStatus(
        level=level,
        name=f'{node.lstrip("/")}: status',
        message=message,
        hardware_id=socket.gethostname(),
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )
    array = DiagnosticArray(status=[status])
    array.header.stamp = stamp
    return array


def _text(value: object) -> str:
    return f'{value:.6g}' if isinstance(value, float) else str(value)
