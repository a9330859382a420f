"""What the live view of the demo shows."""

from __future__ import annotations

from dnn_offload.demo.live_view import rate_mbps
from dnn_offload.testbed.recorder import Recorder

RATE_WINDOW_S = 1.5


def live_values(recorder: Recorder) -> dict[str, float | str]:
    """What the live view shows, from what was heard last."""
    now_s = recorder.now_s()
    latest = recorder.latest
    report, plan, load = latest.report, latest.plan, latest.load
    since_s = now_s - RATE_WINDOW_S
    recent = [row for row in recorder.rows[-60:] if row.has_result and row.time_s > since_s]
    values: dict[str, float | str] = {
        'fps': f'{len(recent) / RATE_WINDOW_S:.1f}',
        'latency_ms': f'{recent[-1].latency_ms:.1f}' if recent else 'nan',
        'load': f'{load.factor:.2f}' if load is not None else 'nan',
        'uplink_mbps': rate_mbps(plan.uplink_bps) if plan is not None else '?',
        'cut': '-', 'codec': '', 'where': '-', 'reason': plan.reason if plan is not None else '',
        'navigation_hz': str((latest.navigation or {}).get('loop_hz', '?'))[:5],
        'remote': 0, 'local': 0, 'rescued': 0, 'dropped': 0,
    }
    if recent:
        last = recent[-1]
        values |= {
            'cut': f'{last.cut_index} {last.cut_label}'[:40], 'codec': last.codec,
            'where': last.server or 'robot',
        }
    if report is not None:
        values |= {
            'remote': report.remote, 'local': report.local, 'rescued': report.rescued,
            'dropped': report.dropped,
        }
    return values
