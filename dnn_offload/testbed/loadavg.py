"""A load average for one emulated robot: the kernel's formula over its own tasks.

The kernel keeps one average per host, in which server, bench and everybody else count. The one
made here is written to a file that the robot's nodes see as ``/proc/loadavg`` (a bind mount in a
mount namespace of their own), so that no node knows that it is emulated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
import threading
import time

from dnn_offload.simulate.load_average import LoadAverage, PERIOD_S

COUNTED = frozenset('RD')  # runnable and uninterruptible, as the kernel counts


def count_tasks(tasks: Iterable[int], proc: Path = Path('/proc')) -> int:
    """Tasks of a list that run, want to run, or wait uninterruptibly, at this moment."""
    count = 0
    for task in tasks:
        try:
            text = (proc / str(task) / 'stat').read_text(encoding='ascii', errors='replace')
        except OSError:
            continue  # it has ended
        # The name in parentheses may hold anything, so look behind the last one.
        count += text.rpartition(')')[2].strip()[:1] in COUNTED
    return count


def seen_as_loadavg(file: Path) -> list[str]:
    """The beginning of a command line under which what follows sees ``file`` in /proc/loadavg."""
    script = 'mount --bind "$0" /proc/loadavg && exec "$@"'
    return ['unshare', '--mount', '--propagation', 'slave', 'sh', '-c', script, str(file)]


class EmulatedLoadAverage:
    """Writes the average of one, and of five and fifteen minutes as that, while ``with`` lasts.

    Args:
        file: To write; always the same inode, since it is mounted.
        tasks: Lists the tasks of the robot.
        time_scale: How much shorter than real time the scenario is played (1 = as it is): the
            minute of the average shrinks with it.
    """

    def __init__(
        self, file: Path, tasks: Callable[[], Sequence[int]], time_scale: float = 1.0
    ) -> None:
        self.file = file
        self._tasks = tasks
        self._period_s = PERIOD_S * time_scale
        self._scale = time_scale
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._average = LoadAverage()
        self._began_s = 0.0
        self._thread = threading.Thread(target=self._run, name='loadavg', daemon=True)

    def __enter__(self) -> EmulatedLoadAverage:
        self.reset()
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join()

    def reset(self) -> None:
        """As after a minute in which nothing ran."""
        with self._lock:
            self._average, self._began_s = LoadAverage(), time.monotonic()
        self._write(0.0, 0)

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            running = count_tasks(self._tasks())
            with self._lock:
                now_s = (time.monotonic() - self._began_s) / self._scale
                value = self._average.update(now_s, running)
            self._write(value, running)

    def _write(self, value: float, running: int) -> None:
        text = f'{value:.2f} {value:.2f} {value:.2f} {running}/{max(running, 1)} 1\n'
        if not self.file.exists():
            self.file.touch()
        with self.file.open('r+', encoding='ascii') as file:  # never a new inode
            file.write(text)
            file.truncate()
