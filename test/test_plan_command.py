"""``dnn-offload plan`` on two profiles in files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
import json
from pathlib import Path
import re
from typing import Any

import pytest

from dnn_offload.cli import main as cli
from dnn_offload.cli import plan_command, power_command
from dnn_offload.cli.plan_arguments import conditions_of, constraints_of
from dnn_offload.cost.energy import load_board, resolve_board
from dnn_offload.cost.link import LinkDefaults
from dnn_offload.cost.profile import LayerProfile, Profile, Variant
from dnn_offload.errors import ConfigurationError, OffloadError
from dnn_offload.planning.explanation import backends_of
from dnn_offload.planning.objective import Objective
from dnn_offload.planning.plan import (
    Candidate,
    Conditions,
    Constraints,
    LinkState,
    ServerState,
)
from dnn_offload.planning.server_book import READY, ServerReport
from dnn_offload.planning.session import PlannerSession, PlannerSettings
from dnn_offload.report import regime_map
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.simulate.made_up_graph import PICTURE, profile_of_layers


@pytest.fixture
def profiles(tmp_path: Path) -> list[str]:
    """Arguments that name two profiles."""
    edge, server = tmp_path / 'edge.json', tmp_path / 'server.json'
    edge.write_text(made_up_profile(cuts=6).to_json())
    server.write_text(made_up_profile(cuts=6, speed=4.0).to_json())
    return ['plan', '--edge', str(edge), '--server', str(server)]


def parse(arguments: list[str]) -> argparse.Namespace:
    """As the command line does."""
    parser = argparse.ArgumentParser()
    plan_command.add_parser(parser.add_subparsers())
    return parser.parse_args(arguments)


def test_table_has_every_cut_and_strategy(
    profiles: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COLUMNS', '180')
    assert plan_command.run(parse([*profiles, '--load', '3'])) == 0
    output = capsys.readouterr().out
    for word in ('picture', 'layer5', 'all on the robot', 'neurosurgeon', 'dey2019', 'made-up:6'):
        assert word in output


def test_a_provisional_profile_is_named(
    profiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan_command.run(parse(profiles)) == 0
    assert 'provisional' not in capsys.readouterr().out
    server = Path(profiles[-1])
    made = Profile.from_json(server.read_text())
    server.write_text(replace(made, provisional='3 runs').to_json())
    assert plan_command.run(parse(profiles)) == 0
    assert 'The profile of server is provisional: 3 runs.' in capsys.readouterr().out


def test_what_runs_the_plan_is_told(
    tmp_path: Path, profiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ('edge', 'server'):
        path = tmp_path / f'{name}.json'
        made = Profile.from_json(path.read_text())
        path.write_text(replace(made, backend='a+b', cuts=tuple(
            replace(cut, head_backend='a', tail_backend='b') for cut in made.cuts
        )).to_json())
    inner = ['--private-layers', '1', '--load', '9', '--shape', 'none']
    for more, here, there in (
        (inner, ['a'], 'b'), (['--strategy', 'remote'], [], 'b'),
        (['--strategy', 'local'], ['a'], ''),
    ):
        assert plan_command.run(parse([*profiles, *more, '--json'])) == 0
        backends = json.loads(capsys.readouterr().out)['backends']
        assert backends == {'edge': here, 'server': there}, more
    assert plan_command.run(parse([*profiles, *inner])) == 0
    assert 'There the robot computes by a, server by b.' in capsys.readouterr().out
    # Robot, server, robot; the middle by whose tails differ least.
    edge, server = (
        Profile.from_json((tmp_path / f'{name}.json').read_text()) for name in ('edge', 'server')
    )
    tails = tuple(cut.tail_ms for cut in server.cuts)
    server = replace(server, variants=(
        Variant('a', server.threads, tails, tails),
        Variant('b', server.threads, tails, tuple(0.5 * time_ms for time_ms in tails)),
    ))
    link = LinkState(1.0, 1e6, 1.0, 1e6, 1.0)
    conditions = Conditions(edge, servers=(ServerState('s', server, link),))
    first, second = edge.cuts[1], edge.cuts[3]
    two = Candidate(
        first.index, first.cut_id, '', 'raw', 's', return_index=3, return_id=second.cut_id
    )
    assert backends_of(two, conditions) == (['a', 'b'], 'b')


def test_agreement_of_made_up_frames_passes_no_floor(
    profiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    edge = Path(profiles[2])
    made = Profile.from_json(edge.read_text())
    made = replace(made, agreement_frames=150, cuts=tuple(
        replace(cut, codecs={
            name: replace(cost, agreement=0.99) for name, cost in cut.codecs.items()
        })
        for cut in made.cuts
    ))
    lossy = {'jpeg', 'int8', 'int8_zstd', 'fp16'}
    for made_up in (False, True):
        edge.write_text(replace(made, agreement_made_up=made_up).to_json())
        asked = [*profiles, '--min-agreement', '0.95', '--load', '5']
        assert plan_command.run(parse([*asked, '--json', '--all'])) == 0
        data = json.loads(capsys.readouterr().out)
        codecs = {candidate['codec'] for candidate in data['candidates']}
        assert bool(codecs & lossy) == (not made_up)
        assert plan_command.run(parse(asked)) == 0
        assert ('made-up frames' in capsys.readouterr().out) == made_up
    session = PlannerSession(PlannerSettings(min_agreement=0.95))
    session.feed_edge_profile(replace(made, agreement_made_up=True))
    fed = session.edge_profile
    assert fed is not None and fed.cuts[1].codecs['raw'].agreement is None


def test_json_is_ranked(profiles: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_command.run(parse([*profiles, '--json', '--private-layers', '1'])) == 0
    data = json.loads(capsys.readouterr().out)
    latencies = [candidate['latency_ms'] for candidate in data['candidates']]
    assert latencies == sorted(latencies)
    assert all(candidate['cut_index'] > 0 for candidate in data['candidates'])
    assert data['strategies']['remote'] is None
    assert data['strategies']['auto']['true']['latency_ms'] == latencies[0]


@pytest.mark.parametrize(
    'change, message',
    [
        ({'edge': Path('/does/not/exist')}, 'cannot be read'),
        ({'model': 'torchvision:resnet18'}, 'dnn-offload profile torchvision:resnet18'),
        ({'objective': 'energy'}, 'dnn-offload power'),
        ({'board': 'toaster'}, 'raspberry_pi_4b'),
        ({'result_codec': 'gzip'}, 'size of an answer'),
        ({'server': []}, 'remote'),
        ({'codec': ['raw', 'foo']}, 'allowed: raw, '),
        ({'threads': [1, 99]}, 'given: 1, 99; allowed: 1; '),
        ({'above_idle': True}, 'raspberry_pi_4b'),
        ({'server': ['x=a.json', '=b.json']}, 'given: =b.json'),
    ],
)
def test_what_is_wrong_is_said(
    profiles: list[str], change: dict[str, object], message: str
) -> None:
    args = parse([*profiles, '--strategy', 'remote'])
    for name, value in change.items():
        setattr(args, name, value)
    with pytest.raises(OffloadError, match=re.escape(message)):
        plan_command.run(args)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ('{"name": "pi"}', 'it has no schema_version'),
        ('[1, 2]', 'it is not laid out as a profile'),
        ('not json', 'it is no JSON (Expecting value: line 1'),
        ('{"schema_version": 1}', 'another schema version; given: 1; allowed: 2'),
    ],
)
def test_a_file_that_is_no_profile_is_named_with_what_is_wrong(
    profiles: list[str], tmp_path: Path, content: str, said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / 'other.json'
    other.write_text(content, encoding='utf-8')
    for option in ('--edge', '--server'):
        for command in ('plan', 'simulate'):
            given = [command, *profiles[1:]]
            given[given.index(option) + 1] = str(other)
            assert cli.main(given) == 1
            words = capsys.readouterr().err
            assert words.startswith(f'dnn-offload: {option} {other} is no profile')
            assert said in words and 'dnn-offload profile MODEL --output' in words


def test_other_models_are_refused(profiles: list[str], tmp_path: Path) -> None:
    other = tmp_path / 'other.json'
    other.write_text(made_up_profile(cuts=6, whole_ms=50.0).to_json())
    args = parse([*profiles, '--server', f'odd={other}'])
    with pytest.raises(ConfigurationError, match='different models'):
        plan_command.run(args)


def test_a_name_is_of_one_server(profiles: list[str]) -> None:
    args = parse(profiles)
    for twice in (f'x={args.server[0]}', f'server1={args.server[0]}'):
        args.server = [twice.partition('=')[2], twice, twice]
        with pytest.raises(ConfigurationError, match=f'given: {twice}; allowed: .*another NAME'):
            conditions_of(args)


@pytest.mark.parametrize(
    'option',
    [
        ['--load', '0'], ['--bandwidth', 'nan'], ['--bandwidth', '5X'], ['--bandwidth', '0k'],
        ['--queue-ms', '-1'], ['--min-agreement', '1.5'], ['--objective', 'speed'],
        ['--threads', '0'], ['--threads=-1'], ['--private-layers=-1'], ['--window', '0'],
    ],
)
def test_impossible_numbers_are_refused(profiles: list[str], option: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*profiles, *option])


@pytest.mark.parametrize(
    ('text', 'bps'), [('20M', 20e6), ('500k', 5e5), ('1.5G', 1.5e9), ('2e7', 2e7), ('64000', 64e3)]
)
def test_rates_are_read_as_people_write_them(profiles: list[str], text: str, bps: float) -> None:
    assert parse([*profiles, '--bandwidth', text]).bandwidth == bps
    assert parse([*profiles, '--uplink-bps', text]).bandwidth == bps


def test_older_names_of_options_still_work(profiles: list[str]) -> None:
    _, _, edge, _, server = profiles
    args = parse(['plan', '--edge-profile', edge, '--server-profile', f'x={server}'])
    assert (str(args.edge), args.server) == (edge, [f'x={server}'])


def test_half_of_a_round_trip_is_the_cost_of_one_transfer(profiles: list[str]) -> None:
    for option, alpha_ms in ((['--rtt', '20'], 10.0), (['--alpha-ms', '4'], 4.0), ([], 3.0)):
        (server,) = conditions_of(parse([*profiles, *option])).servers
        assert server.link.uplink_alpha_ms == server.link.downlink_alpha_ms == alpha_ms


def test_every_wish_reaches_the_planner(profiles: list[str]) -> None:
    made = constraints_of(
        parse(
            [
                *profiles, '--objective', 'weighted', '--latency-weight', '0.3', '--window', '3',
                '--deadline', '200', '--min-agreement', '0.9', '--max-edge-memory-mb', '50',
                '--max-server-memory-mb', '70', '--threads', '1', '--threads', '2',
                '--private-layers', '1', '--codec', 'int8', '--shape', 'dag',
            ]
        )
    )
    assert made == Constraints(
        private_layers=1, codecs=('int8',), deadline_ms=200.0, shapes=('dag',),
        min_agreement=0.9, max_edge_memory_mb=50.0, max_server_memory_mb=70.0, threads=(1, 2),
        objective=Objective('weighted', 0.3, 3),
    )


# ---- shapes: as live -------------------------------------------------------------------------

# The middle is heavy and thin; the picture and the answer are large. Raw tensors.
THIN_MIDDLE = (
    LayerProfile('one', 'conv2d', 2.0, 0.0, (PICTURE,), (('one', 1_000),), 8),
    LayerProfile('two', 'conv2d', 50.0, 0.0, ('one',), (('two', 1_000),), 8),
    LayerProfile('three', 'conv2d', 1.0, 0.0, ('two',), (('three', 200_000),), 8),
)
# A wide stem, whose two branches are thin before the heavy part, also where both are alive.
THIN_BRANCHES = (
    LayerProfile('stem', 'conv2d', 2.0, 0.0, (PICTURE,), (('stem', 400_000),), 8),
    LayerProfile('a', 'conv2d', 2.0, 0.0, ('stem',), (('a', 20_000),), 8),
    LayerProfile('a2', 'conv2d', 90.0, 0.0, ('a',), (('a2', 300_000),), 8),
    LayerProfile('b', 'conv2d', 2.0, 0.0, ('stem',), (('b', 10_000),), 8),
    LayerProfile('join', 'cat', 1.0, 0.0, ('a2', 'b'), (('three', 4_000),)),
)


def files_of(layers: tuple[LayerProfile, ...], folder: Path) -> tuple[list[str], list[Profile]]:
    """Arguments that name the profiles of robot and server, ten times as fast; and these."""
    made = []
    for speed in (1.0, 10.0):
        profile = profile_of_layers(
            layers, outputs=('three',), rates={'raw': (1.0, 0.0, 0.0)}, input_bytes=600_000,
            speed=speed,
        )
        picture = replace(
            profile.cuts[0], codecs={'raw': profile.cuts[0].codecs['raw']}  # JPEG beats all
        )
        made.append(replace(profile, cuts=(picture, *profile.cuts[1:])))
    paths = [folder / 'robot.json', folder / 'desk.json']
    for path, profile in zip(paths, made, strict=True):
        path.write_text(profile.to_json())
    return ['plan', '--edge', str(paths[0]), '--server', f'desk={paths[1]}', '--json'], made


def _name(plan: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        plan[field] for field in ('cut_id', 'codec', 'server', 'return_id', 'return_codec')
    )


@pytest.mark.parametrize(
    ('layers', 'two_cuts', 'branches'),
    [(THIN_MIDDLE, True, False), (THIN_BRANCHES, False, True)],
)
def test_auto_is_what_a_planner_with_default_settings_plans(
    layers: tuple[LayerProfile, ...], two_cuts: bool, branches: bool, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, (edge, server) = files_of(layers, tmp_path)
    assert plan_command.run(parse([*arguments, '--bandwidth', '8M', '--rtt', '4'])) == 0
    shown = json.loads(capsys.readouterr().out)['candidates']
    session = PlannerSession(PlannerSettings(link_defaults=LinkDefaults(2.0, 8e6, 2.0, 8e6)))
    session.feed_edge_profile(edge)
    session.feed_server_profile('desk', server)
    session.feed_status(ServerReport('desk', 1, READY, edge.model_identity), 100.0)
    outcome = session.tick(100.1)
    assert outcome is not None
    live = outcome.ranked
    assert bool(live[0].return_id) == two_cuts
    assert bool(live[0].frontier) == branches
    # A planner that runs counts what frames take beside the stages on top; a command cannot know.
    assert {_name(plan): plan['latency_ms'] for plan in shown} == {
        _name(vars(plan)): pytest.approx(plan.latency_ms - plan.overhead_ms) for plan in live
    }
    assert _name(shown[0]) == _name(vars(live[0]))
    # Its opt-out: single cuts, and all on the robot.
    single = [*arguments, '--bandwidth', '8M', '--rtt', '4', '--shape', 'none']
    assert plan_command.run(parse(single)) == 0
    without = json.loads(capsys.readouterr().out)['candidates']
    assert not any(plan['return_id'] or plan['frontier'] for plan in without)
    assert without[0]['latency_ms'] > shown[0]['latency_ms']


def test_roadrunner_shows_its_two_cuts_where_they_pay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, _ = files_of(THIN_MIDDLE, tmp_path)
    assert plan_command.run(parse([*arguments, '--bandwidth', '8M'])) == 0
    chosen = json.loads(capsys.readouterr().out)['strategies']['roadrunner']['believes']
    assert (chosen['cut_index'], chosen['return_index']) == (1, 2)
    monkeypatch.setenv('COLUMNS', '180')
    arguments.remove('--json')
    assert plan_command.run(parse([*arguments, '--bandwidth', '8M'])) == 0
    rows = capsys.readouterr().out.splitlines()
    (row,) = (row for row in rows if 'roadrunner' in row)
    assert '1 ↩ 2' in row
    # On a slow link they do not pay.
    assert plan_command.run(parse([*arguments, '--json', '--bandwidth', '100k'])) == 0
    chosen = json.loads(capsys.readouterr().out)['strategies']['roadrunner']['believes']
    assert (chosen['server'], chosen['return_id']) == ('', '')


def test_shapes_are_all_some_or_none(profiles: list[str]) -> None:
    for option, shapes in (
        ([], PlannerSettings().shapes),
        (['none'], ()),
        (['dag'], ('dag',)),
        (['dag', 'two_cuts'], ('two_cuts', 'dag')),
    ):
        words = [word for name in option for word in ('--shape', name)]
        assert constraints_of(parse([*profiles, *words])).shapes == shapes
    with pytest.raises(ConfigurationError, match='contradicts'):
        constraints_of(parse([*profiles, '--shape', 'none', '--shape', 'dag']))


def test_the_model_may_be_named(profiles: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert plan_command.run(parse(['plan', 'made-up:6', *profiles[1:], '--json'])) == 0
    assert json.loads(capsys.readouterr().out)['objective'] == 'latency'


def test_energy_has_a_column_and_the_front_is_marked(
    profiles: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COLUMNS', '200')
    options = ['--board', 'raspberry_pi_4b', '--objective', 'weighted', '--bandwidth', '2M']
    assert plan_command.run(parse([*profiles, *options])) == 0
    output = capsys.readouterr().out
    terms = ('computing', 'sending', 'receiving', 'waiting')
    for word in ('mJ', 'value', '* = on the front', 'of all-local', ' would ', *terms):
        assert word in output
    assert plan_command.run(parse([*profiles, *options, '--above-idle', '--json'])) == 0
    data = json.loads(capsys.readouterr().out)
    for candidate in [data['chosen'], *data['candidates']]:
        terms_j = candidate['energy_terms']
        assert sum(terms_j.values()) == pytest.approx(candidate['energy_j'])
        assert candidate['energy_j'] > 0.0
        assert terms_j['wait_j'] == pytest.approx(0.0)  # above idle
        assert (terms_j['send_j'] > 0.0) == bool(candidate['server'])
    assert any(c['pareto'] for c in data['candidates'])


def test_json_tells_of_what_and_under_what_it_plans(
    profiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*profiles, '--json', '--bandwidth', '2M', '--downlink', '3M', '--rtt', '8']
    given += ['--load', '1.5', '--server-load', '2', '--queue-ms', '4', '--strategy', 'dey2019']
    assert plan_command.run(parse(given)) == 0
    text = capsys.readouterr().out
    data = json.loads(text)
    assert (data['model'], data['strategy']) == ('made-up:6', 'dey2019')
    assert data['conditions'] == {
        'uplink_bps': 2e6, 'downlink_bps': 3e6, 'rtt_ms': 8.0, 'load': 1.5, 'loadavg': 1.5,
        'frame_period_ms': 0.0,
        'servers': [{'name': 'server', 'load': 2.0, 'queue_ms': 4.0}],
        'result_codec': 'raw', 'board': None,
    }
    assert data['chosen'] == data['candidates'][0]
    assert data['chosen']['latency_ms'] > 0.0
    assert plan_command.run(parse([*given, '--all', '--alpha-ms', '4'])) == 0
    assert capsys.readouterr().out == text


def test_a_stream_faster_than_a_stage_waits_for_it(
    profiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*profiles, '--json', '--bandwidth', '500k']
    assert plan_command.run(parse(given)) == 0
    single = json.loads(capsys.readouterr().out)
    assert all(plan['wait_ms'] == 0.0 for plan in single['candidates'])
    assert plan_command.run(parse([*given, '--rate-hz', '20'])) == 0
    data = json.loads(capsys.readouterr().out)
    assert data['conditions']['frame_period_ms'] == 50.0
    for plan in data['candidates']:
        if plan['period_ms'] > 75.0:
            assert plan['wait_ms'] == pytest.approx(25.0, abs=1.0)
        elif plan['period_ms'] < 25.0:
            assert plan['wait_ms'] == pytest.approx(0.0, abs=1.0)
    assert any(plan['period_ms'] > 75.0 for plan in data['candidates'])
    assert plan_command.run(parse([*profiles, '--bandwidth', '500k', '--rate-hz', '20'])) == 0
    assert '20 pictures a second' in ' '.join(capsys.readouterr().out.split())


def test_json_tells_what_would_change_the_plan(
    profiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan_command.run(parse([*profiles, '--bandwidth', '2M', '--json'])) == 0
    text = capsys.readouterr().out
    assert 'NaN' not in text, 'no other language reads that'
    data = json.loads(text)
    winner = data['candidates'][0]
    local_wins = winner['server'] == ''
    borders = {
        (border['quantity'], border['above']): border['value']
        for rival in data['rivals']
        if (rival['candidate']['server'] == '') != local_wins
        for border in rival['break_even']
    }
    assert ('uplink', local_wins) in borders
    assert ('load of the robot', local_wins) in borders
    assert data['forbidden'] == []


def test_a_downlink_that_was_given_stays(
    profiles: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(uplink_bps: float) -> dict[str, Any]:
        given = ['--downlink', '30M', '--bandwidth', str(uplink_bps), '--load', '4', '--json']
        assert plan_command.run(parse([*profiles, *given])) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    data = answer(30e6)
    assert 'downlink' not in '\n'.join(data['explanation'])
    (border,) = (
        border for rival in data['rivals'] if rival['candidate']['server'] == ''
        for border in rival['break_even'] if border['quantity'] == 'uplink'
    )
    assert not border['above']
    assert answer(border['value'] * 1.01)['candidates'][0]['server'] != ''
    assert answer(border['value'] / 1.01)['candidates'][0]['server'] == ''


def test_a_picture_is_drawn(
    profiles: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(regime_map, 'STEPS', (6, 5))
    path = tmp_path / 'plan.png'
    assert plan_command.run(parse([*profiles, '--plot', str(path), '--json'])) == 0
    assert path.read_bytes().startswith(b'\x89PNG')
    capsys.readouterr()


# ---- dnn-offload power -----------------------------------------------------------------------


def parse_power(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    power_command.add_parser(parser.add_subparsers())
    return parser.parse_args(['power', *arguments])


def test_boards_and_sensors_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COLUMNS', '200')
    (tmp_path / 'proc/device-tree').mkdir(parents=True)
    (tmp_path / 'proc/device-tree/model').write_bytes(b'Raspberry Pi 5 Model B Rev 1.0\0')
    here = ('--root', str(tmp_path), '--cache', str(tmp_path / 'cache'))
    assert power_command.run(parse_power(*here)) == 0
    output = capsys.readouterr().out
    for word in ('jetson_nano', 'this machine: raspberry_pi_5', 'no sensor', '~'):
        assert word in output


def test_powers_can_be_read_at_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('COLUMNS', '80')
    assert power_command.run(parse_power('--root', str(tmp_path), '--cache', str(tmp_path))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 40 and max(map(len, lines)) <= 80
    assert '…' not in ''.join(lines) and 'four busy cores' in ' '.join(map(str.strip, lines))


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (['--sensor', 'foo'], '--sensor needs --measure; given: foo'),
        (['--out', 'b.json'], '--out needs --measure; given: b.json'),
        (['--measure', '--out', '/nope/b.json'], '--out cannot be written; given: /nope/b.json'),
        (['--measure', '--cache', '/proc/x'], '--cache cannot be written to; given: /proc/x'),
        (['--measure', '--sensor', 'foo'], 'no such power sensor'),
    ],
)
def test_what_is_wrong_with_measuring_is_said_first(
    given: list[str], said: str, tmp_path: Path
) -> None:
    args = parse_power('--root', str(tmp_path), '--cache', str(tmp_path / 'cache'), *given)
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        power_command.run(args)


@pytest.mark.parametrize('seconds', ['nan', '0', '-1', '1e9', 'x'])
def test_impossible_seconds_are_refused_without_a_sensor_too(seconds: str) -> None:
    with pytest.raises(SystemExit):
        parse_power('--measure', f'--seconds={seconds}')


@pytest.mark.parametrize(('user', 'named'), [(0, False), (1000, True)])
def test_only_others_than_root_are_told_to_be_root(
    user: int, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('os.geteuid', lambda: user)
    args = parse_power('--root', str(tmp_path), '--cache', str(tmp_path), '--measure')
    with pytest.raises(ConfigurationError, match='no such power sensor') as refused:
        power_command.run(args)
    assert ('root' in str(refused.value)) == named


def test_a_measured_board_can_be_planned_with(
    profiles: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chip = tmp_path / 'sys/class/hwmon/hwmon0'
    chip.mkdir(parents=True)
    (chip / 'name').write_text('ina219\n')
    (chip / 'power1_input').write_text('3000000\n')
    out = tmp_path / 'mine.json'
    cache = tmp_path / 'cache'
    here = ('--root', str(tmp_path), '--cache', str(cache))
    measure = (*here, '--measure', '--seconds', '0.1', '--out', str(out))
    assert resolve_board('auto', tmp_path, cache) is None
    assert power_command.run(parse_power(*measure)) == 0
    assert load_board(str(out)).idle_w == 3.0
    assert resolve_board('auto', tmp_path, cache) == load_board(str(out))
    assert power_command.run(parse_power(*here)) == 0
    assert 'taken for board: auto' in capsys.readouterr().out
    assert plan_command.run(parse([*profiles, '--board', str(out), '--json'])) == 0
    capsys.readouterr()
    with pytest.raises(ConfigurationError, match='ina219'):
        power_command.run(parse_power(*here, '--measure', '--sensor', 'rapl'))
