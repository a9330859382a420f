"""One node as a process: start, signals, a clean end."""

from __future__ import annotations

import atexit
from collections.abc import Callable
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.base import OffloadNode
from dnn_offload.nodes.executor import LeanExecutor

# A thread that wants Python's lock waits this long before it asks the holder to let go. Python's
# own 5 ms would be added to a frame at each of its changes of thread.
SWITCH_INTERVAL_S = 1e-4
_M_ARENA_MAX = -8  # malloc.h
_M_MMAP_THRESHOLD = -3
_M_TRIM_THRESHOLD = -1
KEPT_BYTES = 32 << 20
# Ctrl-C reaches a node twice, from the terminal and from its launcher: no second wish so soon.
INSISTS_AFTER_S = 2.0


def run(node_class: Callable[[], OffloadNode], args: list[str] | None = None) -> int:
    """Run one node until SIGINT or SIGTERM, which it names; returns the exit status.

    Exit status 1 is an end that nobody asked for: the context has gone from under the node.
    Exit status 2 is an argument or a start-up value that cannot be taken, said in one line. A
    process cannot tell its launcher not to start it again, and a respawning launch file cannot
    tell this from a crash: it repeats the line every ``respawn_delay`` (2 s in ours) until the
    file is mended.

    rclpy's own signal handlers shut the context down first, and then nobody can say good-bye
    (a server's STOPPING, a robot's BYE). So the signals are taken here, the node is shut down
    while its publishers work, and the context goes last.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    use_one_arena()
    keep_freed_memory()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # RCLError and its like: what comes after --ros-args is wrong
        print(f'{sys.argv[0]}: {" ".join(str(error).split())}', file=sys.stderr)
        return 2
    executor = LeanExecutor()
    asked_by: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        asked_by.append(number)
        executor.create_task(lambda: None)  # so that spin_once returns

    end_signals = _wake_on_signals(stop)
    node: OffloadNode | None = None
    try:
        node = node_class()
        executor.add_node(node)
        # Not spin_until_future_complete: that adds a callback to the future at every turn and
        # never takes one away (1.5 kB a frame).
        while rclpy.ok() and not asked_by:
            executor.spin_once()
    except (ConfigurationError, ParameterException) as error:
        print(f'{sys.argv[0]}: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        asked_by.append(signal.SIGINT)
    except ExternalShutdownException:
        pass  # told below
    finally:
        if node is not None and rclpy.ok():
            if asked_by:
                node.get_logger().info(f'{asked_by[0].name} received: shutting down')
            _end(node)
        executor.shutdown(timeout_sec=1.0)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        end_signals()
    if not asked_by:
        print(f'{sys.argv[0]}: the ROS context has ended without a signal', file=sys.stderr)
        return 1
    return 0


def use_one_arena() -> bool:
    """Let all threads allocate from one heap; False where the C library cannot (not glibc).

    Tensors of one thread are freed by another; with a heap for each thread none of them gets
    smaller again, and the process grew by 5 MB an hour.
    """
    with contextlib.suppress(AttributeError, OSError):
        return bool(ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1))
    return False


def keep_freed_memory() -> bool:
    """Take pictures and tensors from the heap, and keep up to ``KEPT_BYTES`` of it when freed.

    Else every picture (0.9 MB) is mapped from the kernel anew, page by page, and given back: to
    take one from its topic cost 1.5 ms instead of 0.6. False where the C library cannot.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        kept = mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        return bool(mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES // 2) and kept)
    return False


def _end(node: OffloadNode) -> None:
    """Shut a node down through its state machine, from whatever state it is in."""
    try:
        node.trigger_shutdown()
    except Exception as error:  # already finalized, or in the middle of a transition
        node.get_logger().debug(f'no shutdown transition: {error}')


def _wake_on_signals(callback: Callable[[signal.Signals], None]) -> Callable[[], None]:
    """Call ``callback`` from a thread at the first SIGINT or SIGTERM; returns what ends that.

    The handlers stay until the process is gone: Python's own would leave a traceback where a
    second signal comes while everything is taken down.

    A Python signal handler only runs when the main thread is back in the interpreter, and
    ``rcl_wait`` is not interrupted; the wake-up file descriptor is written at once.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signals = (signal.SIGINT, signal.SIGTERM)
    caught_s: list[float] = []

    def on_signal(number: int, frame: object) -> None:
        caught_s.append(time.monotonic())
        if caught_s[-1] - caught_s[0] > INSISTS_AFTER_S:  # the user insists
            raise KeyboardInterrupt

    def watch() -> None:
        while data := os.read(reader, 1):
            if data[0] in signals:  # any signal that some library handles in Python comes here
                callback(signal.Signals(data[0]))
                return

    for number in signals:
        signal.signal(number, on_signal)
        # The interpreter's last act is to bring back the system's default, which kills.
        atexit.register(signal.signal, number, signal.SIG_IGN)
    old_fd = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, name='signals', daemon=True).start()

    def end() -> None:
        signal.set_wakeup_fd(old_fd)
        os.close(writer)  # ends the watcher if nothing was caught

    return end
