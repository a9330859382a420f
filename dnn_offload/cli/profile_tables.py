"""A profile for people: its table, and what is to be said about it."""

from __future__ import annotations

import itertools

from rich import box
from rich.markup import escape
from rich.table import Table

from dnn_offload.cost.profile import CutProfile, Profile
from dnn_offload.graph.program import Program
from dnn_offload.runtime.frame_files import ENOUGH
from dnn_offload.runtime.profile_model import FLOOR, LEVEL

ROWS = 25  # of a long table


def table(profile: Profile, everything: bool = True) -> Table:
    """The profile for people; a long one thinned out to the measured cuts."""
    cuts = list(profile.cuts)
    if not everything and len(cuts) > ROWS:
        cuts = _thinned_out(profile)
    agreed = profile.agreement_frames > 0
    shown = '' if len(cuts) == len(profile.cuts) else f', {len(cuts)} of {len(profile.cuts)} cuts'
    made = Table(
        title=f'{escape(profile.model)} on {escape(str(profile.device.get("host", "?")))}, '
        f'{profile.backend}, {profile.threads} thread(s){shown}; times in ms, sizes in kB',
        caption='~ interpolated; ± interquartile range, interpolated: width of the 90 % interval; '
        'smallest: codec, size, encode + decode' + (
            f'; agree: its agreement, {profile.agreement_frames} frames' if agreed else ''
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ('cut', 'kB', 'head', 'tail', '±', *['agree'] * agreed):
        made.add_column(name, justify='right', no_wrap=True)
    # The only one that gives way, so that 80 columns hold all.
    made.add_column('after', overflow='ellipsis', max_width=20)
    made.add_column('smallest', no_wrap=True)
    for cut in cuts:
        mark = '' if cut.measured else '~'
        smallest, agreement = '', [''] if agreed else []
        if cut.codecs:
            name, cost = min(cut.codecs.items(), key=lambda item: item[1].nbytes)
            smallest = f'{name} {cost.nbytes / 1e3:.0f} {cost.encode_ms:.1f}+{cost.decode_ms:.1f}'
            if agreed:
                agreement = ['?' if cost.agreement is None else f'{100 * cost.agreement:.1f}%']
        made.add_row(
            str(cut.index),
            f'{cut.frontier_bytes / 1e3:.0f}',
            f'{mark}{cut.head_ms:.1f}',
            f'{mark}{cut.tail_ms:.1f}',
            f'{max(cut.head_spread_ms, cut.tail_spread_ms):.1f}',
            *agreement,
            escape(cut.label),
            smallest,
        )
    return made


def _thinned_out(profile: Profile) -> list[CutProfile]:
    """At most about ``ROWS`` cuts: measured ones, and evenly spread others if those are few."""
    measured = [cut.index for cut in profile.cuts if cut.measured]
    last = len(profile.cuts) - 1
    step = max(1, -(-len(measured) // ROWS))
    shown = {0, last, *measured[::step]}
    if len(shown) < ROWS // 2:
        shown |= set(range(0, last, -(-last // (ROWS - len(shown)))))
    return [cut for cut in profile.cuts if cut.index in shown]


def summary(profile: Profile) -> list[str]:
    """How sure the times are, and what other thread counts give."""
    inner = profile.cuts[1:-1]
    guessed = [cut for cut in inner if not cut.measured]
    floor_ms = FLOOR * profile.whole_ms
    sure = f'{len(inner) - len(guessed)} of {len(inner)} inner cuts measured'
    if guessed and profile.whole_ms > 0.0:
        off = max(
            0.5 * spread_ms / max(time_ms, floor_ms)
            for cut in guessed
            for time_ms, spread_ms in (
                (cut.head_ms, cut.head_spread_ms), (cut.tail_ms, cut.tail_spread_ms)
            )
        )
        sure += (
            f', the others ± {100 * off:.0f} % (in {100 * LEVEL:.0f} % of cases; of units below '
            f'{100 * FLOOR:.0f} % of the whole: of that)'
        )
    lines = [f'{sure}; {profile.seconds_spent:.1f} s of measuring']
    if profile.provisional:
        lines.insert(0, f'[yellow]provisional: {profile.provisional}; without --quick all of it '
                     'is measured[/]')
    lines += _pieces_by_backend(profile)
    own = [variant for variant in profile.variants if variant.backend == profile.backend]
    others = [variant for variant in profile.variants if variant.backend != profile.backend]
    if others:
        used = profile.head_by(-1)
        others = [variant for variant in others if variant.backend != used]
        lines.append(f'whole network by backend: {used} (used): '
                     f'{profile.whole_ms:.2f} ms' + ''.join(
            f', {variant.backend}: {variant.head_ms[-1]:.2f} ms' for variant in others
        ))
    if own:
        times = {profile.threads: profile.whole_ms}
        times |= {variant.threads: variant.head_ms[-1] for variant in own}
        lines.append('whole network by threads: ' + ', '.join(
            f'{count}: {time_ms:.2f} ms' for count, time_ms in sorted(times.items())
        ))
    return lines


def _pieces_by_backend(profile: Profile) -> list[str]:
    """Which backend runs which heads and tails, where that is chosen piece by piece."""
    lines = []
    for what, by in (
        ('heads', {cut.index: cut.head_backend for cut in profile.cuts[1:]}),
        ('tails', {cut.index: cut.tail_backend for cut in profile.cuts[:-1]}),
    ):
        runs = [
            (name, [index for index, _ in run])
            for name, run in itertools.groupby(by.items(), key=lambda item: item[1]) if name
        ]
        told = (
            f'{name} {run[0]}' + (f' to {run[-1]}' if len(run) > 1 else '') for name, run in runs
        )
        if runs:
            lines.append(f'{what} by backend, by their cut: {", ".join(told)}')
    return lines


def agreement_line(profile: Profile, program: Program | None) -> str:
    """What the agreement was measured on, and what it is worth."""
    known = sum(
        cost.agreement is not None for cut in profile.cuts for cost in cut.codecs.values()
    )
    every = sum(len(cut.codecs) for cut in profile.cuts)
    lines = [
        f'agreement on {profile.agreement_frames} frames, lower 95 % bound: known for {known} of '
        f'{every} pairs of cut and codec, the others pass no accuracy floor'
    ]
    if profile.agreement_made_up:
        lines.append(
            '[yellow]The frames were made up, so none of it passes an accuracy floor: give your '
            'own with --frames.[/]'
        )
    if 0 < profile.agreement_frames < ENOUGH:
        lines.append(f'[yellow]Fewer than {ENOUGH} frames: the bound is low for that alone.[/]')
    if program is not None and 'random' in program.stamp:
        lines.append(
            '[yellow]The weights are random: this agreement says nothing about a trained '
            'network.[/]'
        )
    return '\n'.join(lines)
