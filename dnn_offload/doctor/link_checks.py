"""The link to each server, measured both ways, and what plans would reach over it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnn_offload.cost.link import DOWNLINK, LinkEstimator, LinkEvidence, LOST, UPLINK
from dnn_offload.cost.profile import Profile
from dnn_offload.doctor.examination import Examination, LINK_S, MissingError
from dnn_offload.doctor.finding import failure, Finding, fine, together, warning
from dnn_offload.errors import PlanningError, ProfileError
from dnn_offload.planning.plan import Candidate, Conditions, LinkState, ServerState
from dnn_offload.planning.search import plan

SLOW_BPS = 2e6
FASTEST_BPS = 10e9  # more cannot be told from transfers of some 100 kB, as inside one machine
SAMPLE_S = 0.2     # between two transfers: they were one after another
DEADLINE_MS = 500.0  # default of local_inference_node
SHOWN = ('local', 'remote', 'auto')
FULL = 'raise max_clients'  # in what a server says that has no place (transport/tensor_server.py)


@dataclass(frozen=True)
class Measured:
    """A link as it was measured, and how many transfers that rests on."""

    state: LinkState
    up: int
    down: int
    lost: int


def estimate(samples: list[dict[str, Any]]) -> Measured:
    """What the planner would believe of a link after these transfers.

    Args:
        samples: ``kind``, ``probe``, ``nbytes`` and ``duration_ms`` of each, in order.
    """
    estimator = LinkEstimator()
    for number, sample in enumerate(samples):
        estimator.add(
            LinkEvidence(
                sample['kind'], sample['nbytes'], sample['duration_ms'], sample['probe']
            ),
            SAMPLE_S * number,
        )
    kinds = [sample['kind'] for sample in samples]
    return Measured(
        estimator.state(SAMPLE_S * len(samples)),
        kinds.count(UPLINK), kinds.count(DOWNLINK), kinds.count(LOST),
    )


def check_link(exam: Examination) -> Finding:
    """Greet every ready server as a robot does, and measure the way there and back."""
    return together([_link(exam, server) for server in exam.ready_servers()])


def _link(exam: Examination, server: dict[str, Any]) -> Finding:
    name = server['server']
    ended = exam.link(server)
    answer = ended.answer
    if answer is None:
        return failure(
            f'{name}: the link cannot be measured: {ended.why}', 'see the checks ros and install'
        )
    if not answer['connected']:
        told = {key: answer[key] for key in ('greeted', 'state', 'reasons')}
        return _not_connected(name, answer).knowing(**{name: told})
    measured = estimate(answer['samples'])
    state = measured.state
    facts = {
        'uplink_bps': state.uplink_bps, 'uplink_alpha_ms': state.uplink_alpha_ms,
        'downlink_bps': state.downlink_bps if measured.down else None,
        'downlink_alpha_ms': state.downlink_alpha_ms if measured.down else None,
        'uplink_burst_bytes': state.uplink_burst_bytes, 'lost': measured.lost,
        'transfers_up': measured.up, 'transfers_down': measured.down,
    }
    why, way_back = ('', '') if measured.down else _not_back(exam, server)
    found = (
        f'{name}: up {_way(state.uplink_bps, state.uplink_alpha_ms)}, down '
        + (why or _way(state.downlink_bps, state.downlink_alpha_ms))
        + f' ({measured.up} and {measured.down} transfers)'
    )
    slowest_bps = min(state.uplink_bps, state.downlink_bps if measured.down else state.uplink_bps)
    if measured.lost or not state.alive:
        made = warning(
            f'{found}; {measured.lost} times nothing came back',
            'see the checks wifi, buffers and fragments; on a link that loses packets, '
            'config/fastdds_lossy.xml on both sides',
        )
    elif slowest_bps < SLOW_BPS:
        made = warning(
            f'{found}: slow', 'use the 5 GHz band or a cable; plans that send little still work'
            + (way_back and f'; {way_back}'),
        )
    else:
        made = fine(found, way_back)
    return made.knowing(**{name: facts})


def _not_connected(name: str, answer: dict[str, Any]) -> Finding:
    """Why no frame could be sent to a server that is seen."""
    if answer['reasons']:
        reason = answer['reasons'][-1]
        if FULL in reason:
            return failure(
                f'{name} has no place for this machine: {reason}',
                'set a larger max_clients in the parameter file of the server and start it anew, '
                'or stop a robot that needs no server; a robot that has a place keeps it',
            )
        return failure(
            f'{name} refuses this machine: {reason}',
            'give both sides the same network, weights and version of dnn_offload (checks '
            'agreement and peers), and look into the log of the server',
        )
    if answer['greeted']:
        return failure(
            f'{name} has answered a greeting, but nothing large came through to it within '
            f'{LINK_S:g} s',
            'do what the checks fragments and wifi say on both machines; if it stays, set '
            'config/fastdds_lossy.xml on both sides',
        )
    why = '' if answer['state'].startswith('greeting') else f': {answer["state"]}'
    return failure(
        f'{name} is seen, but has answered no greeting within {LINK_S:g} s{why}',
        'let UDP through the firewalls of both machines in both directions (ports 7400 and up), '
        'and look into the log of the server',
    )


def _not_back(exam: Examination, server: dict[str, Any]) -> tuple[str, str]:
    """Why the way back was not measured, and what to do: it takes answers to frames."""
    model = exam.model().answer
    if model is None:
        return (
            'not measured, since the network was not run here', 'do what the check model says'
        )
    if model['identity'] == server['identity']:
        return 'not measured, since no frame was answered', 'look into the log of the server'
    return (
        'not measured, since this machine does not have its network',
        f'to measure the way back, ask about that network: dnn-offload doctor {server["model"]}, '
        'with --weights and --input-size as the server has them',
    )


def _way(bps: float, alpha_ms: float) -> str:
    if bps > FASTEST_BPS:
        return f'over {FASTEST_BPS / 1e9:g} Gbit/s + {alpha_ms:.1f} ms'
    digits = 0 if bps >= 100e6 else 1
    return f'{bps / 1e6:.{digits}f} Mbit/s + {alpha_ms:.1f} ms'


def check_fps(exam: Examination) -> Finding:
    """What plans would reach, from the profiles and the measured link, on idle machines."""
    edge, whose = _edge_profile(exam)
    try:
        servers = _servers(exam, edge)
        why, cure = ('', '') if servers else (
            'no server with this network',
            f'start one: ros2 launch dnn_offload server.launch.py model:={edge.model}',
        )
    except MissingError as missing:
        servers, why, cure = (), missing.finding.found, missing.finding.cure
    conditions = Conditions(edge, servers=servers)
    chosen = {name: _chosen(name, conditions) for name in SHOWN}
    words = [
        f'{name} {_in_words(candidate, short=name != "auto")}'
        for name, candidate in chosen.items() if candidate is not None
    ]
    found = f'{edge.model} with the profile of {whose}, all idle: {"; ".join(words)}' + (
        f'; {why}' if why else ''
    )
    facts = {
        name: candidate and {
            'fps': 1e3 / candidate.period_ms, 'latency_ms': candidate.latency_ms,
            'cut': candidate.label, 'codec': candidate.codec, 'server': candidate.server,
        }
        for name, candidate in chosen.items()
    }
    best = chosen['auto']
    if best is not None and best.latency_ms > DEADLINE_MS:
        return warning(
            f'{found}: later than the default deadline of {DEADLINE_MS:g} ms',
            'a smaller network or input_size, a nearer server, or a larger deadline_ms'
            + (cure and f'; {cure}'),
        ).knowing(**facts)
    return fine(found, cure).knowing(**facts)


def _in_words(candidate: Candidate, short: bool) -> str:
    text = f'{1e3 / candidate.period_ms:.1f} fps, {candidate.latency_ms:.0f} ms'
    if short:
        return text
    if candidate.is_local:
        return f'{text} (all local)'
    return f'{text} (cut {candidate.cut_index} after {candidate.label}, {candidate.codec})'


def _chosen(strategy: str, conditions: Conditions) -> Candidate | None:
    """Its best plan; None where it has none, as ``remote`` without a server."""
    try:
        return plan(strategy, conditions)[0]
    except PlanningError:
        return None


def _edge_profile(exam: Examination) -> tuple[Profile, str]:
    """The robot's profile, and whose it is: a robot's that runs, else the one in our cache.

    Raises:
        MissingError: There is none.
    """
    robots = {} if exam.no_ros() is not None else (exam.look().answer or {}).get('robots', {})
    for namespace, robot in sorted(robots.items()):
        if not robot['profile'] or not exam.counts(namespace):
            continue
        try:
            profile = Profile.from_json(robot['profile'])
        except ProfileError:
            continue  # of another version: the check peers tells
        if exam.settings.model in ('', profile.model):
            return profile, f'robot {namespace}'
    answer = exam.model().answer
    if answer is None:
        raise MissingError(
            'no robot runs it, and the network does not run here',
            'do what the check model says, or start the robot',
        )
    paths = sorted(
        Path(answer['folder']).glob('profile_edge_*.json'), key=lambda path: path.stat().st_mtime
    )
    for path in reversed(paths):
        try:
            profile = Profile.from_json(path.read_text(encoding='utf-8'))
        except (OSError, ProfileError):
            continue
        if profile.model_identity == answer['identity']:
            return profile, 'this machine'
    raise MissingError(
        f'{answer["source"]} was never measured here, and no robot runs it',
        f'dnn-offload profile {answer["source"]} (8 s), or start the robot once',
    )


def _servers(exam: Examination, edge: Profile) -> tuple[ServerState, ...]:
    """Ready servers that have the robot's network, with their profiles and measured links."""
    ready, profiles = exam.ready_servers(), exam.domain()['profiles']
    made = []
    for server in ready:
        answer = exam.link(server).answer
        if server['identity'] != edge.model_identity or answer is None or not answer['connected']:
            continue
        measured = estimate(answer['samples'])
        try:
            profile = Profile.from_json(profiles.get(server['server'], ''))
        except ProfileError:
            continue  # it measures still
        if measured.state.alive:
            made.append(ServerState(
                server['server'], profile, measured.state, queue_ms=server['queue_ms']
            ))
    return tuple(made)

