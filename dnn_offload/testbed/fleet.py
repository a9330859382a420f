"""Robots and servers on this machine, over real DDS: what tests and benchmarks start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path

from ament_index_python.packages import get_package_prefix

from dnn_offload.errors import OffloadError
from dnn_offload.testbed.processes import node_process, NodeProcess, stop_all

RENDEZVOUS = '/dnn_offload'


class Fleet:
    """Node processes by name; all have ended when the ``with`` block is left.

    Args:
        folder: Where logs go.
        model: Model source of all inference nodes.
        cache_dir: Cache shared by all.
        common: Further parameters of robot and server inference nodes.
        networks: ROS namespace to the network namespace of its nodes; ours for all others.
        groups: ``<namespace>/<node>``, or a namespace for all others in it, to the file by which
            a control group is entered; in none by default.
        within: Namespace to a command in which its nodes run (``NodeProcess``).
        log_level: Log level of all nodes.
    """

    def __init__(
        self,
        folder: Path,
        model: str = 'demo:detector',
        cache_dir: Path = Path('~/.cache/dnn_offload'),
        common: Mapping[str, object] | None = None,
        networks: Mapping[str, str] | None = None,
        groups: Mapping[str, Path] | None = None,
        within: Mapping[str, Sequence[str]] | None = None,
        log_level: str = 'info',
    ) -> None:
        self.folder = folder
        self.nodes: dict[str, NodeProcess] = {}
        self._networks = dict(networks or {})
        self._groups = dict(groups or {})
        self._within = dict(within or {})
        self._log_level = log_level
        self._prefix = Path(get_package_prefix('dnn_offload'))
        self._shared: dict[str, object] = {
            'model': model, 'cache_dir': str(cache_dir.expanduser()),
            # What is looked at here shall not run beside the measuring of a first start.
            'provisional_profile': False, **(common or {}),
        }

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def add(
        self,
        node: str,
        namespace: str,
        cores: frozenset[int] | None = None,
        **parameters: object,
    ) -> NodeProcess:
        """Describe and start a node.

        Args:
            node: Executable, e.g. ``camera_node``.
            namespace: Its namespace; ``<namespace>/<node>`` is its key in ``nodes``.
            cores: Cores that it may use; all by default.
            **parameters: Its start-up parameters, beside what inference nodes share.
        """
        if node in ('local_inference_node', 'remote_inference_node'):
            parameters = {**self._shared, **parameters}
        process = node_process(
            self._prefix, node, namespace, parameters,
            cores=cores or frozenset(os.sched_getaffinity(0)), log_dir=self.folder,
            network=self._networks.get(namespace, ''),
            within=self._within.get(namespace, ()),
            enter=self._groups.get(f'{namespace}/{node}', self._groups.get(namespace)),
            log_level=self._log_level,
        )
        self.nodes[f'{namespace}/{node}'] = process
        process.start()
        return process

    def check(self) -> None:
        """Raise OffloadError if a node has ended that we have not killed; the kernel may have."""
        for name, node in self.nodes.items():
            if node.process is not None and not node.running and not node.killed:
                raise OffloadError(
                    f'{name} has ended by itself', given=f'exit {node.process.returncode}',
                    hint=f'the end of its log:\n{node.last_lines(20)}',
                )

    def stop(self) -> None:
        """End all nodes."""
        stop_all(list(self.nodes.values()))
