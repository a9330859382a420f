"""What ``dnn-offload top`` costs: its CPU time, and what comes to it over the wire, by robots.

Made-up robots publish what real ones do at a picture rate (a report and two link samples a frame,
load, plan with its table, diagnostics) and a server its status; ``top`` draws on a terminal of 100
columns and 40 lines. The publishers share the machine, but only the process of ``top`` is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import psutil
import rclpy
from rclpy.node import Node
from rclpy.serialization import serialize_message

from dnn_offload.msg import FrameReport, LinkSample, Load, Plan, PlanCost, ServerStatus
from dnn_offload.testbed.environment import prepare_environment
from dnn_offload.transport.qos import latched

STATUS_HZ = 5.0
LOAD_HZ = 4.0
TABLE = 20
NODES = ('camera_node', 'load_monitor_node', 'local_inference_node', 'partition_planner_node')


class MadeUpRobot:
    """Publishes as a robot's nodes do, at their paces."""

    def __init__(self, number: int, rate_hz: float) -> None:
        self.node = node = Node('made_up', namespace=f'/robot{number}')
        self.bytes = 0
        self._rate_hz = rate_hz
        self._count = 0
        self._reports = node.create_publisher(FrameReport, 'frame_report', latched(100))
        self._loads = node.create_publisher(Load, 'load', 10)
        self._plans = node.create_publisher(Plan, 'plan', latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        row = PlanCost(cut='0' * 16, label='features.3.squeeze', codec='int8', server='laptop')
        self._plan = Plan(
            plan_id=1, model_identity='0' * 32, strategy='auto', cut='0' * 16, label=row.label,
            codec='int8', server='laptop', reason='33 ms against 48 ms all on the robot',
            uplink_bps=2e7, table=[row] * TABLE, return_index=65535,
        )
        keys = ['state', 'model', *(f'a number of it {i}' for i in range(18)), 'callback_errors']
        values = [KeyValue(key=key, value='123.456') for key in keys]
        self._statuses = [
            DiagnosticArray(status=[DiagnosticStatus(
                level=b'\0', name=f'robot{number}/{name}: status', message='fine', values=values,
            )])
            for name in NODES
        ]

    def tick(self) -> None:
        """One frame's messages, and those of the others when it is their time."""
        self._count += 1
        report = FrameReport(
            pid=1, entered=self._count, remote=self._count, latency_ms=40.0, deadline_ms=300.0,
            deadline_met=True, cut='0' * 16, label='features.3.squeeze', codec='int8',
            server='laptop', cut_index=5, frame_seq=self._count,
            transfers=[
                LinkSample(server='laptop', kind=kind, duration_ms=4.0)
                for kind in (LinkSample.UPLINK, LinkSample.DOWNLINK)
            ],
        )
        self._say(self._reports, report)
        if self._count % max(1, round(self._rate_hz / LOAD_HZ)) == 0:
            self._say(self._loads, Load(host='pi', factor=1.2, factor_source='schedstat'))
        if self._count % round(self._rate_hz) == 0:
            self._say(self._plans, self._plan)
            for status in self._statuses:
                self._say(self._diagnostics, status)

    def _say(self, publisher: object, message: object) -> None:
        self.bytes += len(serialize_message(message))
        publisher.publish(message)  # type: ignore[attr-defined]


def play(robots: list[MadeUpRobot], rate_hz: float, stop: threading.Event) -> None:
    """Publish at a steady pace until told to stop."""
    node = Node('server')
    statuses = node.create_publisher(ServerStatus, '/dnn_offload/server_status', latched())
    due_s, ticks = time.monotonic(), 0
    while not stop.is_set():
        for robot in robots:
            robot.tick()
        if ticks % max(1, round(rate_hz / STATUS_HZ)) == 0:
            statuses.publish(ServerStatus(server='laptop', state=1, model_identity='0' * 32))
        ticks += 1
        due_s += 1.0 / rate_hz
        time.sleep(max(0.0, due_s - time.monotonic()))


def measure(seconds: float, redraws_hz: float) -> tuple[float, float, float]:
    """CPU time of one ``top`` per second of its settled run [s/s], its start [s], memory [MiB]."""
    master, slave = pty.openpty()
    # Lines, columns; termios.tcsetwinsize is not there before Python 3.11.
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 100, 0, 0))
    command = [sys.executable, '-m', 'dnn_offload.cli.main', 'top', '--rate', str(redraws_hz)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    drain = threading.Thread(target=_drain, args=(master,), daemon=True)
    drain.start()
    try:
        watched = psutil.Process(process.pid)
        time.sleep(6.0)
        before = watched.cpu_times()
        began_s = time.monotonic()
        time.sleep(seconds)
        after = watched.cpu_times()
        spent_s = time.monotonic() - began_s
        used_s = after.user + after.system - before.user - before.system
        memory = watched.memory_info().rss / 2**20
        return used_s / spent_s, before.user + before.system, memory
    finally:
        process.terminate()
        process.wait()
        os.close(master)


def _drain(master: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(master, 1 << 16):
            pass


def main() -> None:
    """Measure for some numbers of robots and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rate-hz', type=float, default=30.0, help='pictures per second')
    parser.add_argument('--robots', default='0,1,2,8', help='how many, one after the other')
    parser.add_argument('--seconds', type=float, default=15.0, help='of each measurement')
    parser.add_argument('--redraws', default='2', help='redraws per second, one after the other')
    arguments = parser.parse_args()
    prepare_environment(95)
    print('robots  redraws/s  CPU [%]  to it [kB/s]  start [s CPU]  memory [MiB]')
    for count in map(int, arguments.robots.split(',')):
        for redraws_hz in map(float, arguments.redraws.split(',')):
            rclpy.init()
            robots = [MadeUpRobot(number, arguments.rate_hz) for number in range(count)]
            stop = threading.Event()
            thread = threading.Thread(target=play, args=(robots, arguments.rate_hz, stop))
            thread.start()
            bytes_before, began_s = sum(robot.bytes for robot in robots), time.monotonic()
            share, start_s, memory = measure(arguments.seconds, redraws_hz)
            said = sum(robot.bytes for robot in robots) - bytes_before
            per_s = said / (time.monotonic() - began_s)
            stop.set()
            thread.join()
            rclpy.shutdown()
            print(
                f'{count:6d}  {redraws_hz:9.1f}  {100 * share:7.1f}  {per_s / 1e3:12.1f}  '
                f'{start_s:13.2f}  {memory:12.0f}', flush=True,
            )


if __name__ == '__main__':
    main()
