"""The demo as a user starts it, with shorter phases: its files, accounts, phases, constraints.

How fast things go depends on the machine and on who else uses it: promises about times
(``MAY_BREAK``) are judged by the demo itself and printed here. All others must be kept.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
import re
import statistics
import subprocess

from ament_index_python.packages import get_package_prefix
import cv2
import psutil

TIME_SCALE = '0.6'
LIMIT_S = 280
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
# What a machine that others use may break, and a correct program then tells.
MAY_BREAK = re.compile(
    r'auto took .* ms, the best baseline'         # slower than the better of the two, or
    r'|auto gave .* results/s'                    # with fewer results
    r'|too few results to compare'                # a window of a second passed without frames
    r'|a cut inside the network served [1-9]\d* of'  # some, but not most: found too late
    r'|\d+ results after their deadline'          # no time to finish even here
    r'|the server was not used within'            # noticed too late, or
    r'|all-remote did not use the server'         # later still
)
MOST_BROKEN = 2  # of these in one run; more is no accident
UPLINK_BPS = 2e6
BEGUN_S = 1.5  # after the first frame of a phase its parameters are in force


def test_the_demo_leaves_what_it_promises(tmp_path: Path) -> None:
    program = Path(get_package_prefix('dnn_offload')) / 'lib' / 'dnn_offload' / 'demo'
    out = tmp_path / 'out'
    done = subprocess.run(
        [str(program), '--out', str(out), '--time-scale', TIME_SCALE, '--namespace', 'fleet/a'],
        capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )
    print(done.stdout)
    assert done.returncode in (0, 1), done.stderr  # 2: it could not run
    summary = json.loads((out / 'summary.json').read_text(encoding='utf-8'))
    assert summary['failures'] == [], 'frames are unaccounted for'
    assert [phase['name'] for phase in summary['phases']] == PHASES
    broken = [text for phase in summary['phases'] for text in phase['failures']]
    assert [text for text in broken if not MAY_BREAK.match(text)] == []
    assert len(broken) <= MOST_BROKEN, broken
    assert (done.returncode == 0) == summary['passed'] == (broken == [])
    notes = {phase['name']: phase['notes'] for phase in summary['phases']}
    assert any('when it was killed' in text for text in notes.pop('server_killed'))
    returned = notes.pop('server_back')
    assert 'the server was not used within 5 s of being ready' in broken or any(
        'used' in text for text in returned
    )
    # What there is to note elsewhere: a busy machine took the server for dead under all-remote.
    others = [text for texts in notes.values() for text in texts]
    allowed = (
        'all-remote ran on the robot', 'limit of the uplink NOT CHECKED',
        'a cut inside the network served',
    )
    assert all(text.startswith(allowed) for text in others), others

    with (out / 'frames.csv').open(encoding='utf-8') as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    assert reader.fieldnames == COLUMNS
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
    _nothing_left_running(str(program.parent))


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
