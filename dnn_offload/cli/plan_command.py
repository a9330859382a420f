"""``dnn-offload plan``: the predicted cost of every cut, the best plan, and what would change it.

Takes two profiles (measured by ``dnn-offload profile`` or by the nodes, which keep them in
their cache) and the conditions as arguments. Needs neither torch nor ROS.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from rich.markup import escape

from dnn_offload.cli.console import console_of
from dnn_offload.cli.plan_arguments import (
    add_arguments,
    check_profiled,
    conditions_of,
    constraints_of,
    link_of,
    quantities_of,
)
from dnn_offload.cli.plan_tables import Choices, table_of_plans, table_of_strategies
from dnn_offload.errors import PlanningError
from dnn_offload.planning.costs import energy_terms
from dnn_offload.planning.explanation import backends_of, explain, Explanation
from dnn_offload.planning.pareto import pareto_set
from dnn_offload.planning.plan import Candidate, Conditions, Constraints, LinkState
from dnn_offload.planning.search import plan, reprice, STRATEGIES
from dnn_offload.writable import check_file, PICTURES

WIDTH = 170  # columns in a pipe: every stage has its own


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare ``dnn-offload plan``."""
    parser = subparsers.add_parser(
        'plan',
        help='show the predicted cost of every cut',
        description='Predicted cost of every cut under given conditions, best codec and '
        'server of each; the best plan, and what would have to change for another one to win; '
        'what each strategy would choose. Times in ms.',
    )
    add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print the table; 0.

    Raises:
        OffloadError: A profile, an argument or the plan is impossible.
    """
    if args.plot is not None:
        check_file('--plot', args.plot, PICTURES)
    conditions = conditions_of(args)
    constraints = constraints_of(args)
    check_profiled(constraints, conditions.edge_profile)
    ranked = plan(args.strategy, conditions, constraints)
    choices = _choices(conditions, constraints)
    explanation = explain(
        args.strategy, conditions, constraints, ranked, quantities_of(args)
    )
    if args.json:
        data = {
            'model': conditions.edge_profile.model,
            'model_identity': conditions.edge_profile.model_identity,
            'strategy': args.strategy,
            'conditions': _conditions_plain(conditions, link_of(args)),
            **_as_json(conditions, constraints, ranked, choices, explanation),
        }
        print(json.dumps(data, indent=1))
    else:
        _print(args, conditions, constraints, ranked, choices, explanation)
    if args.plot is not None:
        _plot(args, conditions, constraints, ranked)
    return 0


def _print(
    args: argparse.Namespace,
    conditions: Conditions,
    constraints: Constraints,
    ranked: list[Candidate],
    choices: Choices,
    explanation: Explanation,
) -> None:
    """All of it for people."""
    console = console_of(WIDTH)
    objective = constraints.objective.name
    console.print(
        table_of_plans(
            ranked,
            conditions,
            title=f'{escape(conditions.edge_profile.model)}: cost of every cut in ms, as '
            f'{args.strategy} believes, best {objective}',
            caption=f'{_in_words(args)}; ~ = predicted, ⑂ = over branches, > = the choice'
            + (', * = on the front of latency and energy' if conditions.power else ''),
            every=args.all,
            objective=objective,
        )
    )
    for sentence in explanation.sentences(constraints):
        console.print(sentence, markup=False, highlight=False)
    here, there = backends_of(ranked[0], conditions)
    runs = [f'the robot computes by {" and ".join(dict.fromkeys(here))}'] * bool(here)
    runs += [f'{ranked[0].server} by {there}'] * bool(there)
    console.print(f'There {", ".join(runs)}.', markup=False, highlight=False)
    console.print(table_of_strategies(choices))
    profiles = {'the robot': conditions.edge_profile}
    profiles |= {server.name: server.profile for server in conditions.servers}
    edge = conditions.edge_profile
    if constraints.min_agreement and edge.agreement_made_up:
        console.print(
            "The robot's agreement was measured on made-up frames, which tells nothing of its "
            'own: only lossless codecs pass --min-agreement. Measure it: dnn-offload profile '
            f'{edge.model} --frames FOLDER_OR_VIDEO', markup=False,
        )
    for whose, profile in profiles.items():
        if profile.provisional:
            console.print(
                f'The profile of {whose} is provisional: {profile.provisional}.', markup=False
            )


def _in_words(args: argparse.Namespace) -> str:
    link = link_of(args)
    stream = f', {args.rate_hz:g} pictures a second' if args.rate_hz > 0.0 else ''
    return (
        f'robot load {args.load:g}, uplink {link.uplink_bps / 1e6:g} Mbit/s, fixed cost '
        f'{link.uplink_alpha_ms:g} ms each way, server load {args.server_load:g}{stream}'
    )


def _choices(conditions: Conditions, constraints: Constraints) -> Choices:
    """Strategy to (its choice as it believes, the same under the true conditions)."""
    found: Choices = {}
    for name in STRATEGIES:
        try:
            best = plan(name, conditions, constraints)[0]
        except PlanningError:
            found[name] = None
            continue
        found[name] = (best, reprice(best, conditions, constraints.deadline_ms))
    return found


def _plot(
    args: argparse.Namespace,
    conditions: Conditions,
    constraints: Constraints,
    ranked: list[Candidate],
) -> None:
    from dnn_offload.report.plan_figure import plot_plan  # matplotlib takes a second to import

    title = f'{conditions.edge_profile.model} under {_in_words(args)}'
    plot_plan(
        args.plot, args.strategy, conditions, constraints, ranked,
        title=title, uplink=quantities_of(args)[0],
    )


def _conditions_plain(conditions: Conditions, link: LinkState) -> dict[str, Any]:
    """What the plans were priced with, for JSON."""
    return {
        'uplink_bps': link.uplink_bps,
        'downlink_bps': link.downlink_bps,
        'rtt_ms': link.uplink_alpha_ms + link.downlink_alpha_ms,
        'load': conditions.edge_load,
        'loadavg': conditions.edge_load_raw,
        'frame_period_ms': conditions.frame_period_ms,
        'servers': [
            {
                'name': server.name,
                'load': server.load_factor,
                'queue_ms': server.queue_ms,
            }
            for server in conditions.servers
        ],
        'result_codec': conditions.result_codec,
        'board': conditions.power and conditions.power.name,
    }


def _as_json(
    conditions: Conditions,
    constraints: Constraints,
    ranked: list[Candidate],
    choices: Choices,
    explanation: Explanation,
) -> dict[str, Any]:
    front = {candidate.key for candidate in pareto_set(ranked)}
    here, there = backends_of(ranked[0], conditions)

    def plain(candidate: Candidate) -> dict[str, Any]:
        return _plain(candidate, front, conditions)

    return {
        'objective': constraints.objective.name,
        'unit': constraints.objective.unit,
        'chosen': plain(ranked[0]),
        'backends': {'edge': here, 'server': there},
        'candidates': [plain(candidate) for candidate in ranked],
        'explanation': explanation.sentences(constraints),
        'rivals': [
            {
                'name': rival.name,
                'candidate': plain(rival.candidate),
                'outright': rival.outright,
                'break_even': [
                    {
                        'quantity': border.quantity.name,
                        'unit': border.quantity.unit,
                        'now': border.now,
                        'value': border.value,
                        'above': border.above,
                    }
                    for border in rival.borders
                ],
            }
            for rival in explanation.rivals
        ],
        'forbidden': list(explanation.forbidden),
        'strategies': {
            name: choice and {
                # Priced under what it believes, which is not told here.
                'believes': _plain(choice[0], front, None), 'true': plain(choice[1]),
            }
            for name, choice in choices.items()
        },
    }


def _plain(
    candidate: Candidate, front: set[Any], conditions: Conditions | None
) -> dict[str, Any]:
    """A candidate for JSON, which has no NaN."""
    terms = None if conditions is None else energy_terms(candidate, conditions)
    numbers = {
        **vars(candidate),
        'energy_terms': None if terms is None else terms._asdict(),
        'latency_ms': candidate.latency_ms,
        'period_ms': candidate.period_ms,
        'cost': candidate.cost,
        'pareto': candidate.key in front,
    }
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in numbers.items()
    }
