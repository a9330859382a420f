"""Why a plan wins, in sentences: by how much, and what would have to change for others to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from dnn_offload.planning.break_even import break_even, BreakEven, Moved, QUANTITIES, Quantity
from dnn_offload.planning.limits import forbidden_ends
from dnn_offload.planning.objective import late_share
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, Key, plan_name


@dataclass(frozen=True)
class Rival:
    """A plan, or a kind of plan, that does not win now.

    Attributes:
        name: For people.
        candidate: The plan, or the best of the kind, as priced now.
        borders: Beyond which it wins, one quantity changed at a time.
        outright: Whether it is the best of all beyond them, not only better than the winner.
        of_many: Whether any plan of the kind counts beyond them, not this one alone.
    """

    name: str
    candidate: Candidate
    borders: tuple[BreakEven, ...]
    outright: bool = True
    of_many: bool = False


@dataclass(frozen=True)
class Explanation:
    """Of a ranking.

    Attributes:
        winner: The best plan.
        rivals: The runner-up, and the best of the other place (robot or server).
        forbidden: Why all-local or all-remote is no candidate, in words.
    """

    winner: Candidate
    rivals: tuple[Rival, ...]
    forbidden: tuple[str, ...]

    def sentences(self, constraints: Constraints) -> list[str]:
        """The explanation for people."""
        text = constraints.objective.text
        winner = self.winner
        own, late = _parts(winner, constraints)
        price = f', and {text(late)} as the price of lateness ({_late(winner, constraints)})'
        lines = [
            f'{_capital(plan_name(winner))} wins: {text(own)}{price if late > 0.0 else ""}.'
        ]
        for rival in self.rivals:
            gap = _gap(rival.candidate, winner, constraints)
            now = 'now best: ' if rival.of_many else ''
            line = f'{_capital(rival.name)} ({now}{plan_name(rival.candidate)}): {gap}. '
            borders = ' or '.join(border_text(border) for border in rival.borders)
            if not borders:
                line += 'No change of bandwidth or load alone puts it ahead.'
            elif rival.outright:
                line += f'{"One" if rival.of_many else "It"} would win with {borders}.'
            else:
                line += f'It would be ahead of the choice with {borders}, but others still more.'
            lines.append(line)
        if not self.rivals:
            lines.append('No other plan is possible.')
        return [*lines, *(f'{_capital(why)}.' for why in self.forbidden)]


def explain(
    strategy: str,
    conditions: Conditions,
    constraints: Constraints,
    ranked: Sequence[Candidate],
    quantities: Sequence[Quantity] = QUANTITIES,
) -> Explanation:
    """Find what would have to change for others to win, by planning anew.

    Args:
        strategy: Whose plans.
        conditions: What is known now.
        constraints: What the user demands.
        ranked: The plans under these conditions, best first, at least one.
        quantities: What may change.
    """
    winner = ranked[0]
    few = replace(constraints, most=1, keep=frozenset(plan.key for plan in ranked[:2]))
    rivals: list[Rival] = []

    moved = [Moved(strategy, conditions, few, quantity) for quantity in quantities]

    def borders(
        wins: Callable[[Candidate], bool], among: Collection[Key] = ()
    ) -> tuple[BreakEven, ...]:
        return tuple(border for one in moved for border in break_even(one, wins, among))

    if len(ranked) > 1:
        runner_up = ranked[1]

        def is_runner_up(plan: Candidate) -> bool:
            return plan.key == runner_up.key

        outright = borders(is_runner_up)
        ahead = outright or borders(is_runner_up, (runner_up.key, winner.key))
        rivals.append(Rival('the runner-up', runner_up, ahead, bool(outright)))
    elsewhere = next((c for c in ranked if c.is_local != winner.is_local), None)
    told = bool(rivals) and rivals[0].outright and rivals[0].candidate is elsewhere
    if elsewhere is not None and not told:
        name = 'a plan with a server' if winner.is_local else 'the plan without a server'
        found = borders(lambda plan: plan.is_local != winner.is_local)
        rivals.append(Rival(name, elsewhere, found, of_many=winner.is_local))
    forbidden = forbidden_ends(conditions, constraints)
    return Explanation(winner, tuple(rivals), tuple(forbidden))


def backends_of(plan: Candidate, conditions: Conditions) -> tuple[list[str], str]:
    """What runs a plan's pieces on the robot, in order, and the one on the server; '' for none."""
    edge = conditions.edge_profile
    if plan.is_local:
        return [edge.head_by(-1)], ''
    server = next(s.profile for s in conditions.servers if s.name == plan.server)
    # A placement runs as the nearest cut does.
    there = server.by_id().get(plan.cut_id)
    first = there.index if there is not None else plan.cut_index
    robot = [edge.head_by(plan.cut_index)] if plan.cut_index > 0 else []
    if not plan.return_id:
        return robot, server.tail_by(first)
    robot.append(edge.tail_by(plan.return_index))
    return robot, server.middle_backend(first, server.by_id()[plan.return_id].index)


def border_text(border: BreakEven) -> str:
    """A border for people, e.g. ``an uplink above 3.2 Mbit/s (now 1 Mbit/s)``."""
    side = 'above' if border.above else 'below'
    quantity = border.quantity
    article = 'an' if quantity.name[0] in 'aeiou' else 'a'
    value, now = (_amount(number, quantity.unit) for number in (border.value, border.now))
    along = f'; {quantity.along}' if quantity.along else ''
    return f'{article} {quantity.name} {side} {value} (now {now}{along})'


def _parts(plan: Candidate, constraints: Constraints) -> tuple[float, float]:
    """Cost of a plan: as it is, and what is added because answers come too late."""
    share = late_share(plan.latency_ms, constraints.deadline_ms)
    own = constraints.objective.without_lateness(plan.cost, share)
    late = plan.cost - own
    shown = constraints.objective.text(late) != constraints.objective.text(0.0)
    return (own, late) if shown else (plan.cost, 0.0)


def _late(plan: Candidate, constraints: Constraints) -> str:
    share = late_share(plan.latency_ms, constraints.deadline_ms)
    return f'{100.0 * share:.0f} % of its answers are expected too late'


def _gap(plan: Candidate, winner: Candidate, constraints: Constraints) -> str:
    """By how much a plan is behind: joules, say, and the price of lateness apart."""
    text = constraints.objective.text
    own, late = (
        his - best
        for his, best in zip(_parts(plan, constraints), _parts(winner, constraints), strict=True)
    )
    if late == 0.0:
        return f'{text(own)} behind'
    return (
        f'{text(abs(own))} {"behind" if own >= 0.0 else "ahead"}, '
        f'{"and" if own * late >= 0.0 else "but"} with {text(abs(late))} '
        f'{"more" if late > 0.0 else "less"} as the price of lateness '
        f'({_late(plan, constraints)})'
    )


def _amount(number: float, unit: str) -> str:
    if unit != 'bit/s':
        # Below one, two decimals would move a border by more than it is known to.
        return f'{number:{".2f" if number >= 1.0 else ".3g"}} {unit}'.rstrip()
    for factor, name in ((1e9, 'Gbit/s'), (1e6, 'Mbit/s'), (1e3, 'kbit/s')):
        if number >= factor:
            return f'{number / factor:.3g} {name}'
    return f'{number:.3g} bit/s'


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
