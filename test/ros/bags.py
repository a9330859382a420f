"""A recorded drive as ``ros2 bag record`` writes it (MCAP), and a player that can do more."""

from __future__ import annotations

import json
from pathlib import Path
import threading
import time
from typing import Any

from ament_index_python.packages import get_package_share_directory
from builtin_interfaces.msg import Time
from harness import Graph, newest_only
from mcap.reader import make_reader
from mcap.writer import Writer
import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from dnn_offload.transport.conversion import byte_array

TOPIC = '/robot/image_raw'
BEGIN_S = 1_700_000_000
CLOCK_PERIOD_S = 0.02
_BUILT_IN = {'bool', 'byte', 'char', 'string', 'wstring'}


def definition(type_name: str) -> str:
    """Text of a message and of all that it contains, as MCAP's schema encoding ros2msg has it."""
    parts: list[str] = []
    wanted, seen = [type_name], {type_name}
    while wanted:
        current = wanted.pop(0)
        package, _, name = current.replace('/msg/', '/').partition('/')
        text = Path(get_package_share_directory(package), 'msg', f'{name}.msg').read_text()
        head = '' if not parts else f'{"=" * 80}\nMSG: {package}/{name}\n'
        parts.append(head + text)
        for line in text.splitlines():
            words = line.partition('#')[0].split()
            inner = words[0].partition('[')[0].partition('<')[0] if words else ''
            if not inner or inner in _BUILT_IN or inner.rstrip('0123456789') in (
                'int', 'uint', 'float'
            ):
                continue
            inner = inner if '/' in inner else f'{package}/{inner}'
            if inner not in seen:
                seen.add(inner)
                wanted.append(inner)
    return '\n'.join(parts)


def record(path: Path, pictures: int, rate_hz: float) -> None:
    """Write a bag of pictures of noise, stamped long ago."""
    with path.open('wb') as file:
        writer = Writer(file)
        writer.start(profile='ros2', library='dnn_offload tests')
        schema = writer.register_schema(
            'sensor_msgs/msg/Image', 'ros2msg', definition('sensor_msgs/msg/Image').encode()
        )
        channel = writer.register_channel(
            TOPIC, 'cdr', schema, {'offered_qos_profiles': json.dumps([])}
        )
        for number in range(pictures):
            stamp_ns = BEGIN_S * 10**9 + int(number / rate_hz * 1e9)
            noise = np.random.default_rng(number).integers(0, 255, 48 * 64 * 3, np.uint8)
            image = Image(height=48, width=64, step=192, encoding='rgb8')
            image.data = byte_array(noise.tobytes())
            image.header.stamp = stamp_of(stamp_ns)
            image.header.frame_id = 'eye'
            writer.add_message(channel, stamp_ns, serialize_message(image), stamp_ns, number)
        writer.finish()


def stamp_of(time_ns: int) -> Time:
    return Time(sec=time_ns // 10**9, nanosec=time_ns % 10**9)


class Player:
    """Plays a bag over and over, with ``/clock``; its time jumps back at each new beginning.

    Attributes:
        loops: Times that the bag was played to its end.
        running: Cleared, it pauses pictures and ``/clock``.
    """

    def __init__(self, graph: Graph, path: Path) -> None:
        self.loops = 0
        self.running = threading.Event()
        self.running.set()
        self._clock = graph.publisher(Clock, '/clock')
        self._pictures = graph.publisher(Image, TOPIC, newest_only())
        with path.open('rb') as file:
            self._messages: list[tuple[int, Any]] = [
                (message.log_time, deserialize_message(message.data, Image))
                for _, _, message in make_reader(file).iter_messages()
            ]
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def span_s(self) -> tuple[int, int]:
        """First and last second of the recording."""
        return self._messages[0][0] // 10**9, self._messages[-1][0] // 10**9

    def stop(self) -> None:
        """End."""
        self._ending.set()
        self.running.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            now_ns = self._messages[0][0]
            for time_ns, image in self._messages:
                while now_ns < time_ns and not self._ending.is_set():
                    now_ns = min(now_ns + int(CLOCK_PERIOD_S * 1e9), time_ns)
                    self._tick(now_ns)
                self._tick(now_ns, wait=False)
                self._pictures.publish(image)
            self.loops += 1

    def _tick(self, now_ns: int, wait: bool = True) -> None:
        self.running.wait()
        self._clock.publish(Clock(clock=stamp_of(now_ns)))
        if wait:
            time.sleep(CLOCK_PERIOD_S)
