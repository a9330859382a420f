"""A machine for the doctor whose files, tools and children are made up. Helpers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

from dnn_offload.doctor.examination import Examination
from dnn_offload.doctor.machine import Ended, Machine, Space
from dnn_offload.doctor.settings import Settings

USER = 1000
COLCON = {
    'folder': '/ws/install/dnn_offload', 'messages': True, 'ros_part': True, 'rclpy': True,
    'copies': ['/ws/install/dnn_offload'], 'distributions': [],
    'prefixes': [{'prefix': '/ws/install', 'version': '0.1.0'}],
}
NO_ROS = {
    'folder': '/venv/dnn_offload', 'messages': False, 'ros_part': False, 'rclpy': False,
    'copies': ['/venv/dnn_offload'], 'prefixes': [],
    'distributions': [{'place': '/venv', 'version': '0.1.0'}],
}
SERVER = {
    'server': 'laptop', 'state': 'ready', 'detail': '', 'model': 'demo:detector',
    'identity': 'a' * 64, 'fingerprint': [1.0, 2.0], 'load_factor': 1.0, 'queue_ms': 0.0,
    'clients': 1,
}
MODEL = {
    'source': 'demo:detector', 'identity': 'a' * 64, 'task': 'detection', 'stamp': '', 'cuts': 40,
    'on_nodes': True, 'same_as_exported': True, 'fingerprint': [1.0, 2.0], 'folder': '/nowhere',
    'load_s': 0.1, 'run_ms': 12.0,
}


def said(data: Mapping[str, Any]) -> Ended:
    """A child that answered."""
    return Ended(0, json.dumps(data) + '\n')


def domain(**changes: Any) -> dict[str, Any]:
    """What is on a ROS domain: one ready server, unless told otherwise."""
    return {
        'rmw': 'rmw_fastrtps_cpp', 'domain': 0, 'nodes': ['/edge_server/remote_inference_node'],
        'servers': [SERVER], 'profiles': {}, 'robots': {}, 'other_messages': [],
        'unreadable': [], **changes,
    }


class MadeUpMachine(Machine):
    """Children and tools answer what they are told; files lie below a folder.

    Args:
        root: The folder.
        children: Script to how it ended.
        tools: Program to what it prints; others are not installed.
        environment: Environment variables.
        space: Of /dev/shm.
        locks: Names of files that a process has locked.
        clock_error_s: What its wall clock may be off by; None = it does not tell.
        owners: Name of a file to whom it belongs; all others are of ``USER``.
    """

    def __init__(
        self,
        root: Path,
        children: Mapping[str, Ended] | None = None,
        tools: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        space: Space | None = None,
        locks: Sequence[str] = (),
        owners: Mapping[str, int] | None = None,
        clock_error_s: float | None = None,
    ) -> None:
        super().__init__(root, environment or {})
        self.children = {'where_installed': said(COLCON), **(children or {})}
        self.tools = dict(tools or {})
        self.asked: list[tuple[str, ...]] = []
        self._space = space
        self._locks = set(locks)
        self._owners = dict(owners or {})
        self._clock_error_s = clock_error_s

    def write(self, name: str, text: str) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def space(self, folder: str) -> Space | None:
        return self._space

    def locked(self, path: Path) -> bool | None:
        return path.name in self._locks if path.exists() else None

    def user(self) -> int:
        return USER

    def owner(self, path: Path) -> int | None:
        return self._owners.get(path.name, USER)

    def clock_error_s(self) -> float | None:
        return self._clock_error_s

    def which(self, program: str) -> str | None:
        return program if any(line.split()[0] == program for line in self.tools) else None

    def run(self, command: Sequence[str], limit_s: float = 1.0) -> Ended:
        line = ' '.join(command)
        return Ended(0, self.tools[line]) if line in self.tools else Ended(1, errors='no')

    def child(self, script: str, *arguments: str, limit_s: float) -> Ended:
        self.asked.append((script, *arguments))
        return self.children[script]


def examination(machine: Machine, **settings: Any) -> Examination:
    return Examination(Settings(**settings), machine)
