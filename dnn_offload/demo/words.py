"""What the demo says: the values of the live view and the five lines at the end."""

from __future__ import annotations

from pathlib import Path

from dnn_offload.demo.verdict import UNCHECKED, Verdict
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
        'uplink_mbps': f'{plan.uplink_bps / 1e6:.1f}' if plan is not None else '?',
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


def summary_lines(verdict: Verdict, out: Path) -> list[str]:
    """Five lines: frames, phases, comparison, verdict, where to look."""
    outcomes = verdict.outcomes
    frames = sum(outcomes.values())
    served = ', '.join(f'{item.phase.title}: {item.served}' for item in verdict.phases)
    ratios = [item.ratio for item in verdict.phases if item.ratio is not None]
    broken = [*verdict.failures]
    for item in verdict.phases:
        broken += [f'{item.phase.name}: {text}' for text in item.failures]
    seen = [f'{item.phase.title}: {text}' for item in verdict.phases for text in item.notes]
    notes = f'; {"; ".join(seen)}' if seen else ''
    unchecked = sum(UNCHECKED in text for text in seen)
    kept = 'all promises kept' + (f' but for {unchecked} not checked' if unchecked else '')
    return [
        f'{frames} frames entered, every one accounted for: {outcomes.get("remote", 0)} remote, '
        f'{outcomes.get("local", 0)} local, {outcomes.get("rescued", 0)} rescued, '
        f'{outcomes.get("dropped", 0)} dropped '
        f'({", ".join(f"{k} {v}" for k, v in verdict.drop_reasons.items()) or "none"})'
        if not verdict.failures else f'{frames} frames, accounts do not add up',
        f'what served: {served}',
        'auto against the best of all-local and all-remote, latency by phase: '
        + ', '.join(f'{ratio:.2f}' for ratio in ratios) + ' (promised: at most 1.20)',
        (kept if not broken else 'BROKEN: ' + '; '.join(broken)) + notes,
        f'look at {out / "report.html"}, timeline.png, annotated.mp4, frames.csv, summary.json',
    ]
