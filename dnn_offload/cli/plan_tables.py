"""Tables of ``dnn-offload plan``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from dnn_offload.planning.costs import energy_terms
from dnn_offload.planning.objective import ENERGY, WEIGHTED
from dnn_offload.planning.pareto import pareto_set
from dnn_offload.planning.plan import Candidate, Conditions
from dnn_offload.planning.trials import is_predicted

# Column, field; those of the second kind are shown where any plan has them.
STAGES = (
    ('head', 'head_ms'),
    ('encode', 'encode_ms'),
    ('overlap', 'overlap_ms'),
    ('up', 'uplink_ms'),
    ('queue', 'queue_ms'),
    ('decode', 'decode_ms'),
    ('tail', 'tail_ms'),
    ('down', 'downlink_ms'),
    ('rest', 'rest_ms'),
    ('finish', 'finish_ms'),
    ('wait', 'wait_ms'),
    ('late', 'late_ms'),
)
OPTIONAL = ('overlap_ms', 'queue_ms', 'rest_ms', 'wait_ms', 'late_ms')
TAKEN_OFF = 'overlap_ms'
ENERGY_TERMS = ('computing', 'sending', 'receiving', 'waiting')
Choices = dict[str, tuple[Candidate, Candidate] | None]


def table_of_plans(
    ranked: Sequence[Candidate],
    conditions: Conditions,
    *,
    title: str,
    caption: str,
    every: bool,
    objective: str,
) -> Table:
    """All terms of the cost of each plan.

    Args:
        ranked: Plans, best first, at least one.
        conditions: What they were priced with.
        title: Title.
        caption: Line below the table.
        every: Every plan, in order of rank; else the best of each cut, in order of cut.
        objective: Name of the objective; its value has a column where it is none of the others,
            and what its energy is the sum of where it has any.
    """
    best = ranked[0]
    rows = list(ranked) if every else _best_per_cut(ranked)
    front = {candidate.key for candidate in pareto_set(ranked)}
    stages = [
        (name, stage) for name, stage in STAGES
        if stage not in OPTIONAL or any(getattr(row, stage) > 0.0 for row in ranked)
    ]
    with_threads = any(row.threads for row in ranked)
    with_energy = conditions.power is not None
    with_value = objective == WEIGHTED
    with_terms = with_energy and objective in (ENERGY, WEIGHTED)
    table = Table(title=title, caption=caption)
    table.add_column('')
    table.add_column('cut', justify='right')
    for name in ('after', 'codec', 'server'):
        table.add_column(name)
    numbers = ['kB', *(name for name, _ in stages), 'total', 'period']
    numbers += ['threads'] * with_threads + ['mJ'] * with_energy
    numbers += [*ENERGY_TERMS] * with_terms + ['value'] * with_value
    for name in numbers:
        table.add_column(name, justify='right')
    for row in rows:
        chosen = row.key == best.key
        cells = [
            f'{row.uplink_bytes / 1e3:.1f}' if not row.is_local else '-',
            *(
                f'{-getattr(row, stage) if stage == TAKEN_OFF else getattr(row, stage):.1f}'
                for _, stage in stages
            ),
            f'{row.latency_ms:.1f}',
            f'{row.period_ms:.1f}',
        ]
        cells += [str(row.threads)] * with_threads
        cells += [f'{1e3 * row.energy_j:.0f}'] * with_energy
        if with_terms:
            cells += [f'{1e3 * joules:.0f}' for joules in energy_terms(row, conditions) or ()]
        cells += [f'{row.cost:.3f}'] * with_value
        table.add_row(
            f'{">" if chosen else ""}{"*" if row.key in front else ""}',
            f'{"~" if is_predicted(row, conditions) else ""}{_cuts(row)}',
            escape(row.label),
            row.codec or '-',
            escape(row.server) or '-',
            *cells,
            style='bold' if chosen else None,
        )
    return table


def _cuts(plan: Candidate) -> str:
    """Where the plan goes to the server and, with a second cut, where it comes back.

    A placement over branches is no cut of the list: the nearest one, and a mark.
    """
    if plan.frontier:
        return f'{plan.cut_index} ⑂'
    return f'{plan.cut_index} ↩ {plan.return_index}' if plan.return_id else str(plan.cut_index)


def _best_per_cut(ranked: Sequence[Candidate]) -> list[Candidate]:
    seen: dict[tuple[int, str, bool], Candidate] = {}
    for candidate in ranked:
        place = candidate.cut_index, candidate.return_id, bool(candidate.frontier)
        seen.setdefault(place, candidate)
    return sorted(seen.values(), key=lambda row: (row.cut_index, row.return_index))


def table_of_strategies(choices: Choices) -> Table:
    """What each strategy would choose, as it believes and in truth."""
    table = Table(title='what each strategy would choose, latency in ms')
    for title in ('strategy', 'cut', 'after', 'codec', 'server', 'believes', 'true'):
        number = title in ('cut', 'believes', 'true')
        table.add_column(title, justify='right' if number else 'left')
    for name, choice in choices.items():
        if choice is None:
            table.add_row(name, '-', 'no plan possible', '-', '-', '-', '-')
            continue
        believed, true = choice
        table.add_row(
            name,
            _cuts(believed),
            escape(believed.label),
            believed.codec or '-',
            escape(believed.server) or '-',
            f'{believed.latency_ms:.1f}',
            f'{true.latency_ms:.1f}',
        )
    return table
