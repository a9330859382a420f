"""Callbacks that survive their own failures."""

from __future__ import annotations

from collections.abc import Callable
import functools
import traceback
from typing import Any


def guarded(log: Any, callback: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a callback so that an unforeseen exception is logged and not fatal.

    An exception that leaves a callback ends rclpy's ``spin`` and with it the process; one that
    leaves a thread ends the thread without a word. One message must not do that.

    Args:
        log: The node's logger.
        callback: What is wrapped; a failed call gives None.
    """

    @functools.wraps(callback)
    def call(*arguments: Any) -> Any:
        try:
            return callback(*arguments)
        except Exception:
            log.error(
                f'error in {callback.__qualname__}, the message is dropped:\n'
                f'{traceback.format_exc()}',
                throttle_duration_sec=1.0,
            )
            return None

    return call
