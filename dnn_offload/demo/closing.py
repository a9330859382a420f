"""What the demo says at its end. Pure."""

from __future__ import annotations

from pathlib import Path

from dnn_offload.demo.verdict import Verdict


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
    notes = ''
    if seen:  # beside a broken promise they shall not look like more of them
        notes = f'{". Seen besides: " if broken else "; "}{"; ".join(seen)}'
    return [
        f'{frames} frames entered, every one accounted for: {outcomes.get("remote", 0)} remote, '
        f'{outcomes.get("local", 0)} local, {outcomes.get("rescued", 0)} rescued, '
        f'{outcomes.get("dropped", 0)} dropped '
        f'({", ".join(f"{k} {v}" for k, v in verdict.drop_reasons.items()) or "none"})'
        if not verdict.failures else f'{frames} frames, accounts do not add up',
        f'what served: {served}',
        'auto against the best of all-local and all-remote, latency by phase: '
        + ', '.join(f'{ratio:.2f}' for ratio in ratios) + ' (promised: at most 1.20)',
        (verdict.kept if not broken else 'BROKEN: ' + '; '.join(broken)) + notes,
        f'look at {out / "report.html"}, timeline.png, annotated.mp4, frames.csv, summary.json',
    ]
