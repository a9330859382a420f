"""``dnn-offload bench`` from end to end, and that nothing of it is left, however it ends. Root.

Real nodes in their own network namespaces and control groups, over a shaped link.
"""

from __future__ import annotations

import csv
from itertools import pairwise
import json
import os
from pathlib import Path
import signal
import subprocess
import time

import psutil
import pytest

from dnn_offload.bench.emulation import why_loopback
from dnn_offload.testbed.quota import cgroup_folder
from dnn_offload.testbed.shared_memory import nobodys, segments

SCENARIO = """
title: tiny
model: demo:detector
robot_speed: 0.5
server_speed: 1.0
uplink_mbps: 20
deadline_ms: 500
duration_s: 6
timeline:
  - {at_s: 2, load: 1}
  - {at_s: 4, outage: true, uplink_mbps: 10}
  - {at_s: 5, outage: false, load: 0, server: false}
rows: [local, auto]
repeat: 2
"""
STEADY = """
title: tiny
model: demo:detector
uplink_mbps: 20
rows: [remote, compressed_image]
frames: 5
repeat: 1
"""


def _left(pid: int) -> list[str]:
    """What is still there of a bench."""
    netns, found = Path('/run/netns'), cgroup_folder()
    left = [path.name for path in netns.glob(f'dnno{pid}?')] if netns.exists() else []
    if found is not None:
        left += [path.name for path in found[0].glob(f'dnn_offload_{pid}_*')]
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            command = path.read_bytes()
        except OSError:
            continue  # it has just ended
        if b'--ros-args' in command and f'dnn_bench_{pid}'.encode() in _environment(path.parent):
            left.append(command.replace(b'\0', b' ').decode())
    return left


def _environment(folder: Path) -> bytes:
    try:
        return (folder / 'environ').read_bytes()
    except OSError:
        return b''


def _check_status(status: int, folder: Path, output: str) -> None:
    """A busy machine may miss figures: then, and only then, the bench ends with 1."""
    data = json.loads((folder / 'bench.json').read_text())
    missed = [figure for figure in data['figures'] if figure['passed'] is False]
    assert status == (1 if missed else 0), output
    assert not any('ended early' in note for note in data['notes']), output


def _start(folder: Path, scenario: str, *more: str) -> subprocess.Popen[str]:
    (folder / 'tiny.yaml').write_text(scenario)
    command = Path(os.environ['DNN_OFFLOAD_NODES']) / 'dnn-offload'
    return subprocess.Popen(
        # The shell becomes the bench: its process id, which everything is named after, is known.
        ['sh', '-c', 'MARK=dnn_bench_$$ exec "$@"', 'sh', str(command), 'bench',
         str(folder / 'tiny.yaml'), '--out', str(folder / 'out'), *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


@pytest.mark.skipif(why_loopback() != '', reason=why_loopback() or 'possible')
def test_a_tiny_scenario_from_end_to_end(tmp_path: Path) -> None:
    process = _start(tmp_path, SCENARIO)
    output, _ = process.communicate(timeout=240)
    _check_status(process.returncode, tmp_path / 'out', output)
    assert _left(process.pid) == []
    with (tmp_path / 'out' / 'rows.csv').open() as file:
        rows = list(csv.DictReader(file))
    there = 4 * ['local'] + 4 * ['auto']  # all of it, under load, two stretches of 2 s
    assert [row['row'] for row in rows] == there + there[::-1], output
    assert all(float(row['latency_ms']) > 0.0 for row in rows)
    with (tmp_path / 'out' / 'frames.csv').open() as file:
        belong = {(frame['point'], frame['phase']) for frame in csv.DictReader(file)}
    assert len({point for point, _ in belong}) == 1 and '' not in {point for point, _ in belong}
    assert {phase for _, phase in belong} == {
        f'{row}, round {number}' for row in ('local', 'auto') for number in (1, 2)
    }, output
    data = json.loads((tmp_path / 'out' / 'bench.json').read_text())
    assert [step['what'] for step in data['steps'] if step['row'] == 'auto'] == 2 * [
        'load 0 to 1', 'uplink 20 to 10 Mbit/s, link down', 'load 1 to 0, link up, server killed',
    ]
    page = (tmp_path / 'out' / 'report.html').read_text()
    assert 'data:image/png' in page and 'Changes of conditions' in page


@pytest.mark.skipif(why_loopback() != '', reason=why_loopback() or 'possible')
def test_a_drive_in_a_tenth_of_its_time_loses_nothing(tmp_path: Path) -> None:
    """Outage, crowded channel, bursts of mapping, a dead server: a result for every stretch."""
    command = Path(os.environ['DNN_OFFLOAD_NODES']) / 'dnn-offload'
    done = subprocess.run(
        [str(command), 'bench', 'drive', '--time-scale', '0.1', '--rows', 'auto', '--out',
         str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=400,
    )
    _check_status(done.returncode, tmp_path, done.stdout + done.stderr)
    data = json.loads((tmp_path / 'bench.json').read_text())
    assert len(data['steps']) == 15
    (death,) = [step for step in data['steps'] if step['what'] == 'server killed']
    assert death['late'] <= 1, death
    with (tmp_path / 'frames.csv').open() as file:
        frames = list(csv.DictReader(file))
    outcomes = {frame['outcome'] for frame in frames}
    assert {'local', 'remote'} <= outcomes <= {'local', 'remote', 'rescued', 'dropped'}
    numbers = [int(frame['frame_seq']) for frame in frames]
    assert sorted(numbers) == list(range(min(numbers), max(numbers) + 1))  # each has its record
    results = sorted(float(f['time_s']) for f in frames if f['outcome'] != 'dropped')
    assert max(b - a for a, b in pairwise(results)) < 3.0  # never a stalled loop


@pytest.mark.skipif(why_loopback() != '', reason=why_loopback() or 'possible')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_takes_everything_down(tmp_path: Path, number: int) -> None:
    process = _start(tmp_path, SCENARIO)
    _wait_for_nodes(process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0, output
    assert _left(process.pid) == []


@pytest.mark.skipif(why_loopback() != '', reason=why_loopback() or 'possible')
def test_a_killed_bench_leaves_nothing_for_long(tmp_path: Path) -> None:
    before = segments()
    process = _start(tmp_path, SCENARIO)
    _wait_for_nodes(process)
    assert segments() - before, 'processes of one side talk through shared memory'
    process.kill()
    process.communicate()
    end_s = time.monotonic() + 20.0
    while (_left(process.pid) or nobodys(segments() - before)) and time.monotonic() < end_s:
        time.sleep(0.1)
    time.sleep(1.0)  # one whose owner was still ending
    assert _left(process.pid) == []
    assert not nobodys(segments() - before), 'memory, until the machine is started anew'


@pytest.mark.skipif(why_loopback() != '', reason=why_loopback() or 'possible')
def test_the_next_bench_removes_what_one_left_that_was_killed_with_its_guardian(
    tmp_path: Path,
) -> None:
    process = _start(tmp_path, SCENARIO)
    _wait_for_nodes(process)
    guardians = [
        child for child in psutil.Process(process.pid).children(recursive=True)
        if 'dnn_offload.testbed.guardian' in child.cmdline()
    ]
    assert len(guardians) == 1
    guardians[0].kill()
    process.kill()
    process.communicate()
    assert _left(process.pid) != []
    following = _start(tmp_path, STEADY)
    output, _ = following.communicate(timeout=240)
    _check_status(following.returncode, tmp_path / 'out', output)
    assert _left(process.pid) == [] and _left(following.pid) == []
    assert 'compressed_image' in output and 'no result' not in output


def test_without_root_it_says_so_and_goes_over_loopback(tmp_path: Path) -> None:
    process = _start(tmp_path, STEADY.replace(', compressed_image', ''), '--loopback')
    output, _ = process.communicate(timeout=240)
    _check_status(process.returncode, tmp_path / 'out', output)
    assert 'over loopback' in output and 'remote' in output
    assert _left(process.pid) == []


def _wait_for_nodes(process: subprocess.Popen[str]) -> None:
    """Until the nodes run, in the middle of it all."""
    end_s = time.monotonic() + 120.0
    while time.monotonic() < end_s and process.poll() is None:
        if any('local_inference_node' in name for name in _left(process.pid)):
            time.sleep(1.0)
            return
        time.sleep(0.2)
    pytest.fail('the nodes did not start')


@pytest.mark.parametrize(('arguments', 'words'), [
    (['no-such'], ('no such scenario', 'dey_load', 'drive')),
    (['drive', '--rows', 'auto,magic'], ('magic', 'neurosurgeon')),
    (['drive', '--repeat', '0'], ('--repeat', '1 or more')),
    (['drive', '--time-scale', '0'], ('time scale', 'above 0')),
    (['drive', '--out', '/proc/x'], ('--out', '/proc/x', 'a folder')),
    (['drive', '--out', '/dev/null'], ('--out', '/dev/null', 'a folder')),
])
def test_wrong_arguments_are_refused(
    tmp_path: Path, arguments: list[str], words: tuple[str, ...]
) -> None:
    command = Path(os.environ['DNN_OFFLOAD_NODES']) / 'dnn-offload'
    done = subprocess.run(
        [str(command), 'bench', '--out', str(tmp_path), *arguments], capture_output=True,
        text=True, check=False, timeout=60,
    )
    assert done.returncode == 1
    for word in words:
        assert word in done.stderr
    assert 'Traceback' not in done.stderr
