"""How a program ends that has made processes, networks or control groups: with none left."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import signal
import sys

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def ending_politely() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal take down what was made, once.

    The first one raises ``KeyboardInterrupt``, or ``SystemExit`` with 128 and its number. Further
    ones are ignored until the end: they would leave what is half taken down. rclpy's own handlers
    must not be there (``SignalHandlerOptions.NO``): they end the context that taking down needs.
    """
    before = {number: signal.signal(number, _end) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: object) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
