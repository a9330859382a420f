"""Traces, the oracle and regret: what must hold for any strategy, and cases done by hand."""

from __future__ import annotations

from dataclasses import replace
import json
import math
from pathlib import Path

import pytest

from dnn_offload.cli import main as cli
from dnn_offload.cost.profile import CodecCost, CutProfile, Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.search import STRATEGIES
from dnn_offload.simulate import generated, recording, replay
from dnn_offload.simulate.closed_loop import run, Sensors
from dnn_offload.simulate.happened import TICK_S, Trace
from dnn_offload.simulate.load_average import LoadAverage, runnable
from dnn_offload.simulate.made_up import made_up_profile
from dnn_offload.simulate.recording import Recording
from dnn_offload.simulate.world import World

EXACT = Sensors(0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0)
EDGE, SERVER = made_up_profile(cuts=6), made_up_profile(cuts=6, speed=5.0)


def still(world: World, seconds: float = 20.0, **more: object) -> Recording:
    rows = round(seconds)
    return Recording(
        'still', tuple(map(float, range(rows))), (world,) * rows, (math.nan,) * rows, **more
    )


def two_cuts(head_ms: float, tail_ms: float) -> Profile:
    """The picture, or all on the robot: 1000 bytes up, 500 back, nothing else costs."""
    picture = CutProfile('p', 0, 'picture', 0, 1000, 0.0, tail_ms,
                         codecs={'raw': CodecCost(1000, 0.0, 0.0)})
    whole = CutProfile('w', 1, 'all', 1, 500, head_ms, 0.0)
    return Profile('m', 'm', {}, 'none', 1, {}, 0.0, {'raw': 500}, 0.0, (picture, whole))


@pytest.mark.parametrize('strategy', sorted(STRATEGIES))
def test_same_seed_same_result_and_regret_is_never_negative(strategy: str) -> None:
    trace = generated.building_drive(seed=3, seconds=30.0)
    told = [replay.replay(trace, EDGE, SERVER, strategy, seed=4) for _ in range(2)]
    assert told[0] == told[1]
    assert all(t >= b > 0.0 for t, b in zip(told[0].true_ms, told[0].best_ms, strict=True))
    verdict = replay.judge(strategy, trace.name, told[0])
    assert verdict.regret >= 0.0
    assert verdict.regret_p95 >= 0.0


def test_another_seed_another_result() -> None:
    trace = generated.step_load(seconds=20.0)
    one, two = (
        replay.replay(trace, EDGE, SERVER, 'auto', seed=seed).frames for seed in (1, 2)
    )
    assert one != two


def test_the_oracle_has_no_regret() -> None:
    verdicts, _ = replay.compare(
        generated.slam_bursts(seconds=30.0), EDGE, SERVER, ['local', 'auto']
    )
    last = verdicts[-1]
    assert last.strategy == replay.ORACLE
    assert last.regret == 0.0
    assert all(v.mean_ms >= last.mean_ms for v in verdicts)
    assert all(v.best_mean_ms == last.mean_ms for v in verdicts)


def test_regret_of_a_wrong_strategy_by_hand() -> None:
    """Robot 100 ms, server 10 ms, 1000 bytes up at 1 Mbit/s, 500 back at 2, alpha 1: 22 ms."""
    world = World(1.0, 1.0, 0.0, 1e6, 2e6, 1.0)
    trace = still(world)
    told = replay.replay(trace, two_cuts(100.0, 100.0), two_cuts(10.0, 10.0), 'local',
                         sensors=EXACT)
    assert told.best_ms[0] == pytest.approx(8.0 + 1.0 + 10.0 + 2.0 + 1.0)
    verdict = replay.judge('local', trace.name, told)
    assert verdict.mean_ms == pytest.approx(100.0)
    assert verdict.regret == pytest.approx(100.0 / 22.0 - 1.0)
    assert verdict.switches == 0


def test_slow_robot_passes_frames_over() -> None:
    """A frame takes 250 ms at 10 Hz: 4 of 10 are run, and without a deadline none is late."""
    trace = still(World(edge_load=2.5), 40.0)
    told = replay.replay(trace, two_cuts(100.0, 100.0), two_cuts(10.0, 10.0), 'local',
                         sensors=EXACT)
    frames = told.frames
    assert frames is not None
    assert frames.local / frames.entered == pytest.approx(0.4, abs=0.01)
    assert frames.superseded == frames.entered - frames.local
    assert frames.mean_ms == pytest.approx(250.0)
    assert frames.late == 0


def test_late_frames_are_counted_against_the_deadline() -> None:
    trace = still(World(edge_load=2.5), 20.0)
    for deadline_ms, late in ((260.0, False), (240.0, True)):
        told = replay.replay(
            trace, two_cuts(100.0, 100.0), two_cuts(10.0, 10.0), 'local', sensors=EXACT,
            deadline_ms=deadline_ms,
        )
        assert told.frames is not None
        assert told.frames.late == (told.frames.local if late else 0)


def test_a_dying_server_costs_rescues_and_a_switch() -> None:
    up = World(edge_load=1.0, uplink_bps=20e6)
    down = replace(up, server_up=False)
    rows = 40
    trace = Recording(
        'death', tuple(map(float, range(rows))), (up,) * 20 + (down,) * 20, (math.nan,) * rows
    )
    told = replay.replay(trace, EDGE, SERVER, 'auto', sensors=EXACT, deadline_ms=200.0)
    frames = told.frames
    assert frames is not None
    assert 1 <= frames.rescued <= 3
    assert frames.late == frames.lost == 0
    assert told.switches[-1].candidate.is_local
    assert told.switches[-1].at_s - 20.0 <= 0.6
    assert frames.entered == (
        frames.remote + frames.local + frames.rescued + frames.lost + frames.superseded
    )


def test_neurosurgeon_is_blind_and_the_load_average_is_late() -> None:
    """The robot is idle, then five times slower: one never sees it, the other too late."""
    calm, busy = World(uplink_bps=2e6, edge_load=1.0), World(uplink_bps=2e6, edge_load=5.0)
    rows = 90
    trace = Recording(
        'step', tuple(map(float, range(rows))), (calm,) * 30 + (busy,) * 60,
        (math.nan,) * rows, cores=4,
    )
    # Raw tensors only: a picture of 20 kB keeps them in the race.
    edge, server = two_cuts(40.0, 40.0), two_cuts(8.0, 8.0)
    edge, server = (
        replace(p, cuts=(
            replace(p.cuts[0], codecs={'raw': CodecCost(12_000, 0.0, 0.0)}), p.cuts[1]))
        for p in (edge, server)
    )
    first = {}
    for strategy in ('auto', 'dey2019', 'neurosurgeon'):
        told = replay.replay(trace, edge, server, strategy, sensors=EXACT)
        later = [s.at_s for s in told.switches_after(30.0) if not s.candidate.is_local]
        first[strategy] = later[0] - 30.0 if later else math.inf
    assert first['auto'] < 3.0
    assert 3.0 < first['dey2019'] < 60.0
    assert first['neurosurgeon'] == math.inf


def test_load_average_is_the_kernels() -> None:
    average = LoadAverage()
    for tenth in range(1, 1201):
        value = average.update(tenth / 10.0, 3.0)
    assert value == pytest.approx(3.0 * (1.0 - math.exp(-120.0 / 60.0)))
    for tenth in range(1201, 1801):
        value = average.update(tenth / 10.0, 0.0)
    assert value == pytest.approx(3.0 * (1.0 - math.exp(-2.0)) * math.exp(-1.0))


def test_runnable_tasks_turn_a_slow_down_round() -> None:
    assert runnable(2.5, 1.0, 4) == pytest.approx(10.0)  # 9 others and ours on 4 cores
    assert runnable(1.0, 0.3, 4) == pytest.approx(0.3)


def test_a_recorded_load_average_is_used_as_it_is() -> None:
    """With a load average of 40 on 4 cores Dey et al. believe the robot ten times slower."""
    calm = still(World(uplink_bps=2e6), cores=4)
    edge, server = two_cuts(40.0, 40.0), two_cuts(38.0, 38.0)
    quiet = replay.replay(calm, edge, server, 'dey2019', sensors=EXACT)
    loud = replay.replay(
        replace(calm, loadavg=(40.0,) * 20), edge, server, 'dey2019', sensors=EXACT
    )
    assert all(s.candidate.is_local for s in quiet.switches)
    assert not loud.switches[-1].candidate.is_local


# ---- files -----------------------------------------------------------------------------------

CSV = '# name: mine\n# cores: 2\nt_s,edge_load,loadavg,server_up\n1.0,1.5,0.7,1\n3,,0.8,0\n'


def test_a_trace_is_read_as_it_is_written() -> None:
    trace = recording.parse(CSV)
    assert (trace.name, trace.cores, trace.duration_s) == ('mine', 2, 4.0)
    assert trace.world_at(1.9) == World(edge_load=1.5)
    assert trace.world_at(2.0) == World(edge_load=1.5, server_up=False)
    assert trace.loadavg_at(99.0) == 0.8
    again = recording.parse(trace.to_csv())
    assert again == trace
    as_json = json.dumps(
        {'name': 'mine', 'cores': 2, 'rows': [
            {'t_s': 0, 'edge_load': 1.5, 'loadavg': 0.7, 'server_up': 1},
            {'t_s': 2, 'loadavg': 0.8, 'server_up': 0}]}
    )
    assert recording.parse(as_json, is_json=True) == trace


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'empty'),
        ('t_s,edge_load\n', 'rows'),
        ('edge_load\n1\n', 't_s'),
        ('t_s,speed\n0,1\n', 'speed'),
        ('t_s,t_s\n0,1\n', 'columns'),
        ('t_s,edge_load\n0,1\n0,2\n', 'row 2'),
        ('t_s,edge_load\n0,1,2\n', 'row 1'),
        ('t_s,edge_load\n0,1\n,2\n', 'row 2'),
        ('t_s,edge_load\n0,nan\n', 'edge_load in row 1'),
        ('t_s,edge_load\n0,-1\n', 'edge_load in row 1'),
        ('t_s,uplink_bps\n0,fast\n', 'uplink_bps in row 1'),
        ('t_s,server_up\n0,1\n1,2\n', 'server_up in row 2'),
        ('# cores: 0\nt_s\n0\n', 'cores'),
    ],
)
def test_what_is_wrong_with_a_trace_is_said(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        recording.parse(text)


@pytest.mark.parametrize('text', ['[', '[]', '{"rows": 3}', '{"rows": [3]}', '{"rows": []}'])
def test_what_is_wrong_with_json_is_said(text: str) -> None:
    with pytest.raises(ConfigurationError):
        recording.parse(text, is_json=True)


def test_a_load_over_a_link() -> None:
    load = recording.parse('# cores: 2\nt_s,edge_load,loadavg\n0,2,5\n4,3,6\n')
    link = recording.parse('t_s,uplink_bps\n0,1e6\n3,2e6\n6,3e6\n', name='link')
    both = load.over(link)
    assert both.times_s == (0.0, 3.0, 4.0, 6.0)
    assert [w.edge_load for w in both.worlds] == [2.0, 2.0, 3.0, 3.0]
    assert [w.uplink_bps for w in both.worlds] == [1e6, 2e6, 2e6, 3e6]
    assert (both.loadavg, both.cores) == ((5.0, 5.0, 6.0, 6.0), 2)


@pytest.mark.parametrize('name', replay.shipped())
def test_shipped_traces_can_be_replayed(name: str) -> None:
    trace = replay.find(name)
    assert trace.duration_s >= 120.0
    assert trace.note
    short = replace(
        trace, times_s=trace.times_s[:20], worlds=trace.worlds[:20], loadavg=trace.loadavg[:20]
    )
    verdict = replay.judge('auto', name, replay.replay(short, EDGE, SERVER, 'auto'), 0.0)
    assert verdict.frames > 50


@pytest.mark.timeout(120)
def test_a_recorded_server_is_left_when_it_dies_and_taken_again() -> None:
    """Its deaths and its load were real; the robot is made up, and slow enough to want it."""
    trace = replay.find('loaded_server')
    up = [world.server_up for world in trace.worlds]
    killed = [
        t for t, before, now in zip(trace.times_s[1:], up, up[1:], strict=False)
        if before and not now
    ]
    assert len(killed) == 2
    assert up[-1]
    loads = [world.server_load for world in trace.worlds]
    assert max(loads) > 1.5 * min(loads)
    assert max(world.queue_ms for world in trace.worlds) > 0.0
    slow = replace(trace, worlds=tuple(replace(w, edge_load=4.0) for w in trace.worlds))
    told = replay.replay(slow, EDGE, SERVER, 'auto')
    for killed_s in killed:
        after = told.switches_after(killed_s)
        assert after[0].candidate.is_local
        assert after[0].at_s - killed_s < 2.0
        assert not after[1].candidate.is_local
    verdict = replay.judge('auto', trace.name, told)
    assert verdict.regret < replay.judge(
        'local', trace.name, replay.replay(slow, EDGE, SERVER, 'local')
    ).regret


@pytest.mark.parametrize('name', sorted(generated.GENERATED))
def test_made_up_traces_are_seeded_and_valid(name: str) -> None:
    trace = replay.find(f'{name}:5', seconds=90.0)
    assert trace == generated.generate(name, 5, 90.0)
    assert trace != generated.generate(name, 6, 90.0)
    assert trace.duration_s == pytest.approx(90.0)
    read = recording.parse(trace.to_csv())  # in range, and times grow
    assert [w.server_up for w in read.worlds] == [w.server_up for w in trace.worlds]


def test_the_sweep_covers_the_whole_range() -> None:
    rates = [w.uplink_bps for w in generated.bandwidth_sweep().worlds]
    assert min(rates) == pytest.approx(16e3, rel=0.5)
    assert 60e6 < max(rates) < 200e6


def test_regret_quantile_and_since() -> None:
    trace = Trace([], [2.0] * 95 + [5.0] * 5, [2.0] * 100)
    assert trace.regret_quantile(0.5) == 0.0
    assert trace.regret_quantile(0.95) == 1.5
    assert trace.typical_regret() == pytest.approx(2.5**0.05 - 1.0)
    assert trace.since(95 * TICK_S).true_ms == [5.0] * 5


def test_the_command_prints_a_table_json_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edge, server = tmp_path / 'e.json', tmp_path / 's.json'
    edge.write_text(EDGE.to_json(), encoding='utf-8')
    server.write_text(SERVER.to_json(), encoding='utf-8')
    mine = tmp_path / 'mine.csv'
    mine.write_text(CSV, encoding='utf-8')
    given = [
        'simulate', 'step_load', str(mine), '--edge', str(edge), '--server', str(server),
        '--strategy', 'auto,local', '--seconds', '8',
    ]
    assert cli.main([given[0], *given[2:], '--plot', str(tmp_path / 'p.png')]) == 0
    said = capsys.readouterr().out
    assert 'regret' in said
    assert 'oracle' in said
    assert (tmp_path / 'p.png').stat().st_size > 10_000
    assert cli.main([*given, '--json']) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row['trace'], row['strategy']) for row in rows] == [
        (trace, strategy) for trace in ('step_load', 'mine')
        for strategy in ('auto', 'local', 'oracle')
    ]


@pytest.mark.parametrize(
    'given',
    [['nowhere.csv'], ['step_load', '--strategy', 'best'], ['step_load', '--edge', 'e.json']],
)
def test_the_command_refuses_nonsense(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(['simulate', *given]) == 1
    assert capsys.readouterr().err.startswith('dnn-offload: ')


@pytest.mark.parametrize(
    ('option', 'values'),
    [('--frame-hz', ('nan', '0', '-1', '1e9', 'x')), ('--seed', ('-1', '1.5', 'nan', '1e3')),
     ('--deadline-ms', ('nan', '-1', 'inf')), ('--seconds', ('0', 'nan', '1e6'))],
)
def test_the_command_refuses_impossible_numbers(
    option: str, values: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in values:
        with pytest.raises(SystemExit) as end:
            cli.main(['simulate', 'step_load', f'{option}={value}'])
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert f'argument {option}: {value} is not a ' in said


def test_the_help_tells_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(['simulate', '--help'])
    said = ' '.join(capsys.readouterr().out.split())
    for default in ('[10 Hz]', '[0 ms]', 'traces [0]', '[600 s]'):
        assert default in said


def test_without_fates_nothing_is_counted() -> None:
    assert run(EDGE, SERVER, lambda now_s: World(), 2.0).frames is None
