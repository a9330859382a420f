"""For node tests: they need the built package, and a ROS domain that nobody else uses."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import time
from typing import Any

import pytest

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
# tools/run_tests.py and colcon test choose one per file; by hand, keep off the user's domain.
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 60))

SOURCE = Path(__file__).resolve().parents[2]
LOG_LINES = 40  # of each node, that are shown where a test fails


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip everything where ROS is missing; stop where the source tree hides the messages."""
    try:
        import rclpy  # noqa: F401
    except ImportError:
        reason = 'ROS 2 is not in this environment: run "make test", or source tools/env.sh'
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))
        return
    from ament_index_python.packages import get_package_prefix

    import dnn_offload

    folder = Path(get_package_prefix('dnn_offload')) / 'lib/dnn_offload'
    os.environ.setdefault('DNN_OFFLOAD_NODES', str(folder))
    found = Path(dnn_offload.__file__).resolve()
    if found.is_relative_to(SOURCE / 'dnn_offload'):
        raise pytest.UsageError(
            f'node tests need the installed package, but {found} comes first on sys.path; run '
            f'them by "python tools/run_tests.py FILE", or from another folder'
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the nodes said last where a test fails: a file that is run again leaves no trace.

    Of the logs that were written to while it ran: most nodes were started by a fixture before.
    """
    report: Any = yield
    if report.failed:
        # Not made here: a test without any folder has no logs.
        base = item.session.config._tmp_path_factory._basetemp  # type: ignore[attr-defined]
        logs = sorted([*base.rglob('*.log'), *base.rglob('log')]) if base is not None else []
        for log in logs:
            if log.is_file() and log.stat().st_mtime >= call.start:
                age_s = time.time() - log.stat().st_mtime
                lines = log.read_text(errors='replace').splitlines()[-LOG_LINES:]
                title = f'end of {log.relative_to(base)}, written to {age_s:.1f} s ago'
                report.sections.append((title, '\n'.join(lines)))
    return report


@pytest.fixture(scope='session', autouse=True)
def no_segments_left() -> Iterator[None]:
    """Tests kill nodes, and each would leave its shared memory until the machine starts anew."""
    from dnn_offload.testbed.shared_memory import swept_segments

    with swept_segments():
        yield
