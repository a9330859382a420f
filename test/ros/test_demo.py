"""The demo as a user starts it, with shorter phases: its files, accounts, phases, constraints.

How fast things go depends on the machine and on who else uses it: promises about times are judged
by the demo itself. Where it says that one is broken it is run once more; ``demo_promises`` has
what fails at once, and what fails when it is broken again. All others must be kept.
"""

from __future__ import annotations

import csv
from itertools import chain
import json
import os
from pathlib import Path
import re
import statistics
import subprocess

from ament_index_python.packages import get_package_prefix
import cv2
from demo_promises import broken_twice, judge, Judgement
import psutil
import pytest
from rich.console import Console

from dnn_offload.demo import script
from dnn_offload.demo.verdict import Verdict
from dnn_offload.errors import OffloadError

PROGRAM = Path(get_package_prefix('dnn_offload')) / 'lib' / 'dnn_offload' / 'demo'
TIME_SCALE = '0.6'
LIMIT_S = 280  # of one run
COLUMNS = [
    'time_s', 'phase', 'strategy', 'frame_seq', 'outcome', 'drop_reason', 'cut', 'cut_index',
    'cut_label', 'depth', 'codec', 'server', 'plan_epoch', 'plan_id', 'uplink_bytes', 'age_ms',
    'wait_ms', 'preprocess_ms', 'head_ms', 'head_cpu_ms', 'head_wait_ms', 'encode_ms', 'uplink_ms',
    'queue_ms', 'decode_ms', 'tail_ms', 'downlink_ms', 'rest_ms', 'finish_ms', 'latency_ms',
    'deadline_met', 'is_trial', 'stood_in', 'overlap_ms',
]
PHASES = [
    'quiet', 'load_up', 'private', 'slow_uplink', 'server_killed', 'server_back', 'load_down',
]
UPLINK_BPS = 2e6
BEGUN_S = 1.5  # after the first frame of a phase its parameters are in force
NOT_CHECKED = 'NOT CHECKED'  # marks a note of what nothing could show


@pytest.mark.timeout(2 * LIMIT_S + 20)
def test_the_demo_leaves_what_it_promises(tmp_path: Path) -> None:
    first = _played(tmp_path / 'out')
    if first.soft:
        print('once more, for these may be the machine:', sorted(first.soft))
        again = _played(tmp_path / 'out')  # the drive is there already
        assert broken_twice(first, again) == [], 'broken in two runs'


def test_a_demo_that_cannot_run_says_why_and_leaves_no_old_results(tmp_path: Path) -> None:
    results = ('report.html', 'timeline.png', 'annotated.mp4', 'frames.csv', 'summary.json')
    for name in (*results, 'own.txt'):
        (tmp_path / name).write_text('of the last run', encoding='utf-8')
    (tmp_path / 'drive.mp4').mkdir()  # so the drive cannot be drawn; no node is started then
    own = {name: value for name, value in os.environ.items() if name != 'ROS_DOMAIN_ID'}
    done = subprocess.run(
        [str(PROGRAM), '--out', str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False, env=own,
    )
    assert done.returncode == 2, done.stderr
    assert 'the video cannot be written' in done.stderr
    assert [name for name in results if (tmp_path / name).exists()] == []
    assert (tmp_path / 'own.txt').exists()
    assert re.match(r'ROS domain [2-5]\d; .* export ROS_DOMAIN_ID=[2-5]\d\n', done.stdout)


def _played(out: Path) -> Judgement:
    """Play the demo and look at all that it leaves; what a busy machine may have broken."""
    done = subprocess.run(
        [str(PROGRAM), '--out', str(out), '--time-scale', TIME_SCALE, '--namespace', 'fleet/a'],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )
    print(done.stdout)
    assert done.returncode in (0, 1), done.stderr  # 2: it could not run
    assert f'ROS domain {os.environ["ROS_DOMAIN_ID"]};' in done.stdout, 'the domain given'
    summary = json.loads((out / 'summary.json').read_text(encoding='utf-8'))
    assert [phase['name'] for phase in summary['phases']] == PHASES
    broken = [text for phase in summary['phases'] for text in phase['failures']]
    assert (done.returncode == 0) == summary['passed'] == (broken == [])
    notes = {phase['name']: phase['notes'] for phase in summary['phases']}
    _notes_are_counted(done.stdout, summary['passed'], [*chain(*notes.values())])
    assert any('when it was killed' in text for text in notes.pop('server_killed'))
    returned = notes.pop('server_back')
    assert 'the server was not used within 5 s of being ready' in broken or any(
        'used' in text for text in returned
    )
    # What there is to note elsewhere: a busy machine took the server for dead under all-remote.
    others = [*chain(*notes.values())]
    allowed = (
        'all-remote ran on the robot', f'limit of the uplink {NOT_CHECKED}',
        'a cut inside the network served',
    )
    assert all(text.startswith(allowed) for text in others), others

    with (out / 'frames.csv').open(encoding='utf-8') as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
    judgement = judge(summary, rows)
    assert judgement.hard == ()
    rates_bps = _phases_were_as_they_say(rows)
    if rates_bps:
        assert statistics.median(rates_bps) < 1.2 * UPLINK_BPS, rates_bps
    else:  # nothing was sent there at all
        assert [text for text in notes['slow_uplink'] if text.startswith('all-remote ran on')]
    states = summary['navigation_states']
    assert states['clear'] > 10, states
    assert states.get('slow', 0) + states.get('stop', 0) > 10, 'it reacts to what is seen'
    assert len(rows) == sum(summary['outcomes'].values()) > 200
    assert len({row['frame_seq'] for row in rows}) == len(rows)
    assert {row['outcome'] for row in rows} >= {'remote', 'local'}
    for phase in summary['phases']:
        assert phase['title'] in done.stdout and phase['served'] != 'nothing'
    page = (out / 'report.html').read_text(encoding='utf-8')
    assert page.count('data:image/') >= 4
    assert '://' not in page, 'the page fetches something'  # base64 has no colon
    assert cv2.imread(str(out / 'timeline.png')).shape[0] > 600
    video = cv2.VideoCapture(str(out / 'annotated.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) > 100
    _nothing_left_running(str(PROGRAM.parent))
    return judgement


def _notes_are_counted(printed: str, passed: bool, notes: list[str]) -> None:
    """What was not checked is said in the last lines, and no note forgets to say so."""
    assert all(NOT_CHECKED in text for text in notes if text.startswith('all-remote ran on'))
    unchecked = sum(NOT_CHECKED in text for text in notes)
    kept = 'all promises kept' + (f' but for {unchecked} not checked' if unchecked else '')
    if passed:
        assert kept in [line.split(';')[0] for line in printed.splitlines()]


def _phases_were_as_they_say(rows: list[dict[str, str]]) -> list[float]:
    """What was in force in a phase, told by its frames alone; rates of the limited uplink."""
    for name in PHASES:
        assert any(row['phase'] == name and row['outcome'] != 'dropped' for row in rows), name

    def sent(name: str, following: str) -> list[dict[str, str]]:
        """Frames that left, taken when the phase was well begun and ended before the next."""
        start_s = min(float(row['time_s']) for row in rows if row['phase'] == name)
        end_s = min(float(row['time_s']) for row in rows if row['phase'] == following)
        return [
            row for row in rows if row['phase'] == name and int(row['uplink_bytes']) > 0
            and float(row['time_s']) > start_s + BEGUN_S
            and float(row['time_s']) + float(row['latency_ms']) / 1e3 < end_s
        ]

    assert all(int(row['depth']) >= 1 for row in sent('private', 'slow_uplink'))
    killed = [row['outcome'] for row in rows if row['phase'] == 'server_killed']
    assert {'remote', 'local'} <= set(killed)
    assert killed[-1] != 'remote', 'a dead server answered'
    slow = [row for row in sent('slow_uplink', 'server_killed') if row['outcome'] == 'remote']
    return [8e3 * int(row['uplink_bytes']) / float(row['uplink_ms']) for row in slow]


def _nothing_left_running(folder: str) -> None:
    mine = os.environ.get('ROS_DOMAIN_ID')
    left = []
    for process in psutil.process_iter(['pid', 'cmdline']):
        if any(folder in part for part in process.info['cmdline'] or []):
            try:
                if process.environ().get('ROS_DOMAIN_ID') == mine:
                    left.append(process.info)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
    assert left == [], 'the demo left processes behind'


@pytest.mark.parametrize(('failures', 'status'), [((), 0), (('frame 7 has no report',), 1)])
def test_a_broken_promise_is_in_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failures: tuple[str, ...], status: int
) -> None:
    verdict = Verdict((), {'local': 9}, {}, failures)
    monkeypatch.setattr(script.Demo, 'run', lambda demo: verdict)
    assert script.run(script.DemoOptions(tmp_path), Console(quiet=True)) == status


def test_a_demo_that_cannot_run_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(demo: script.Demo) -> Verdict:
        raise OffloadError('no camera node')

    monkeypatch.setattr(script.Demo, 'run', fails)
    assert script.run(script.DemoOptions(tmp_path), Console(quiet=True)) == 2
    assert 'demo: no camera node' in capsys.readouterr().err
