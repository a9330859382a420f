"""The demo's terminal view: a table that is redrawn, or plain lines where there is no terminal."""

from __future__ import annotations

from collections import deque
import math

from rich.console import Console
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dnn_offload.report.terminal import Redrawn, sparkline

MOST_MBPS = 1000.0


def rate_mbps(rate_bps: float) -> str:
    """A link's rate [Mbit/s]; within one machine no more than that it is above a network's."""
    mbps = rate_bps / 1e6
    return f'{mbps:.1f}' if mbps < MOST_MBPS else f'over {MOST_MBPS:g}'


class LiveView(Redrawn):
    """Shows what is going on.

    Args:
        console: Where to.
        total_s: Length of the script, for the progress bar.
    """

    def __init__(self, console: Console, total_s: float) -> None:
        super().__init__(console)
        self._total_s = total_s
        self._latencies: deque[float] = deque(maxlen=60)
        self._loads: deque[float] = deque(maxlen=60)

    def extend(self, seconds: float) -> None:
        """The script gets longer: something is measured again."""
        self._total_s += seconds

    def update(self, now_s: float, phase: str, values: dict[str, float | str]) -> None:
        """Redraw.

        Args:
            now_s: Seconds since the start.
            phase: Title of the phase.
            values: ``fps``, ``latency_ms``, ``load``, ``uplink_mbps``, ``cut``, ``codec``,
                ``where``, ``navigation_hz``, ``reason`` and outcome counters ``remote``,
                ``local``, ``rescued``, ``dropped``.
        """
        latency, load = float(values['latency_ms']), float(values['load'])
        if math.isfinite(latency):
            self._latencies.append(latency)
        if math.isfinite(load):
            self._loads.append(load)
        self.show(
            now_s, lambda: self._panel(now_s, phase, values),
            lambda: [
                f'{now_s:5.1f} s  {phase:20s} {values["fps"]:>4} fps {values["latency_ms"]:>6} ms'
                f'  load {values["load"]:>5}  uplink {values["uplink_mbps"]} Mbit/s  '
                f'{values["where"]:10s} cut {values["cut"]} '
                f'{values["codec"]}  remote {values["remote"]} local {values["local"]} '
                f'rescued {values["rescued"]} dropped {values["dropped"]}'
            ],
        )

    def _panel(self, now_s: float, phase: str, values: dict[str, float | str]) -> Panel:
        table = Table.grid(padding=(0, 2))
        table.add_column(justify='right', style='dim', width=12)
        table.add_column(width=10)
        table.add_column()
        rows = (
            ('results', f'{values["fps"]} fps', ''),
            ('latency', f'{values["latency_ms"]} ms', sparkline(self._latencies, 50.0)),
            ('load', f'{values["load"]} x', sparkline(self._loads, 4.0)),
            ('uplink', f'{values["uplink_mbps"]} Mbit/s', ''),
            ('runs at', f'{values["where"]}', f'cut {values["cut"]}  {values["codec"]}'),
            ('navigation', f'{values["navigation_hz"]} Hz', ''),
            (
                'outcomes', '',
                f'remote {values["remote"]}  local {values["local"]}  '
                f'rescued {values["rescued"]}  dropped {values["dropped"]}',
            ),
            ('why', '', Text(str(values['reason']), overflow='ellipsis', no_wrap=True)),
        )
        for row in rows:
            table.add_row(*row)
        table.add_row(f'{now_s:.0f} s', '', ProgressBar(self._total_s, now_s, width=60))
        return Panel(table, title=f'dnn_offload demo: {phase}', width=100)
