"""The machine while it is profiled: what it is, and how loaded it was."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

from dnn_offload.cost import load_sources
from dnn_offload.cost.load import per_core
from dnn_offload.cost.load_factors import ProbeFactor, RunnableFactor
from dnn_offload.runtime.read_files import package_version

WHOLE_RUN_S = 3600.0  # averages over everything that was read


class LoadWatch:
    """Reads the load sources beside the measurements, so that a factor can be relative to them.

    What runs meanwhile is this thread alone: it is taken out of ``procs_running``.
    """

    def __init__(self) -> None:
        self._runnable = RunnableFactor(WHOLE_RUN_S)
        self._probe = ProbeFactor(WHOLE_RUN_S)
        self._cores = max(1, len(load_sources.cores_of()))
        self._loadavg = per_core(load_sources.read_loadavg(), self._cores)

    def sample(self) -> None:
        """Count runnable processes now; some 0.1 ms."""
        self._runnable.update(
            time.monotonic(), load_sources.read_procs_running(), 0, self._cores,
            os.cpu_count() or 1,
        )

    def probe(self) -> None:
        """Compute for 8 ms and see how long that takes."""
        self._probe.update(time.monotonic(), load_sources.run_probe())

    def ratios(self, schedstat: float) -> dict[str, float]:
        """Mean reading of each source, 1 = idle; the load average as it was at the start."""
        now_s = time.monotonic()
        ratios = {
            'schedstat': schedstat,
            'procs_running': self._runnable.factor(now_s),
            'probe': self._probe.factor(now_s),
            'loadavg': self._loadavg,
            'loadavg_own_removed': self._loadavg,
        }
        return {name: ratio for name, ratio in ratios.items() if ratio >= 1.0}  # NaN is not


def describe_device() -> dict[str, Any]:
    """This machine, for people."""
    import torch

    return {
        'host': platform.node(),
        'processor': _processor(),
        'cores': os.cpu_count() or 1,
        'system': f'{platform.system()} {platform.release()}',
        'python': platform.python_version(),
        'dnn_offload': package_version('dnn_offload'),
        'torch': str(torch.__version__),
        'cpu_capability': str(torch.backends.cpu.get_cpu_capability()),
    }


def _processor() -> str:
    try:
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            for line in file:
                if line.startswith(('model name', 'Model')):
                    return line.partition(':')[2].strip()
    except OSError:
        pass  # not Linux: the name of the architecture will do
    return platform.processor() or platform.machine()
