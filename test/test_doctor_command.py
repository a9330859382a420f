"""`dnn-offload doctor` as a whole: runner, machine, output, exit status."""

from __future__ import annotations

import contextlib
import json
import math
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import psutil
import pytest

from dnn_offload.cli import doctor_command
from dnn_offload.cli import main as cli
from dnn_offload.doctor.examination import Examination, MissingError
from dnn_offload.doctor.finding import failure, Finding, fine, skipped, State, together, warning
from dnn_offload.doctor.machine import Ended, Machine
from dnn_offload.doctor.registry import Check, CHECKS, choose
from dnn_offload.doctor.report import as_json
from dnn_offload.doctor.runner import examine, exit_status, Result
from dnn_offload.doctor.settings import Settings
from dnn_offload.errors import ConfigurationError
from made_up_machine import examination, MadeUpMachine

ROOT = Path(__file__).resolve().parents[1]


def test_a_trouble_without_a_cure_cannot_be_made() -> None:
    for made in (warning, failure):
        with pytest.raises(ValueError, match='without a cure'):
            made('it is broken', '')


def test_several_findings_as_one() -> None:
    made = together([
        fine('a', 'more').knowing(x=1), warning('b', 'mend b').knowing(y=2), failure('c', 'mend c')
    ])
    assert (made.state, made.found, made.cure) == (State.FAILURE, 'a; b; c', 'mend c')
    assert made.facts == {'x': 1, 'y': 2}
    assert together([fine('a'), fine('b', 'more')]).cure == 'more'


def hang(exam: Examination) -> Finding:
    threading.Event().wait(5.0)
    return fine('too late')


def crash(exam: Examination) -> Finding:
    raise RuntimeError('it fell over')


def miss(exam: Examination) -> Finding:
    raise MissingError('nothing to look at', 'plug it in')


def test_a_check_that_hangs_or_crashes_stops_no_other(tmp_path: Path) -> None:
    exam = Examination(Settings(listen_s=0.1), MadeUpMachine(tmp_path))
    checks = [
        Check('hangs', '', hang, 0.1), Check('crashes', '', crash), Check('misses', '', miss),
        Check('well', '', lambda exam: fine('all is well')),
    ]
    began: list[str] = []
    results = list(examine(exam, checks, lambda check: began.append(check.name)))
    assert began == ['hangs', 'crashes', 'misses', 'well']
    assert [result.finding.state for result in results] == [
        State.FAILURE, State.FAILURE, State.SKIPPED, State.OK,
    ]
    assert 'did not end' in results[0].finding.found and '--skip hangs' in results[0].finding.cure
    assert 'RuntimeError: it fell over (test_doctor_command.py:' in results[1].finding.found


def test_the_doctor_itself_needs_little(tmp_path: Path) -> None:
    # So that it can tell of a NumPy that does not import.
    broken = tmp_path / 'numpy'
    broken.mkdir()
    (broken / '__init__.py').write_text("raise ImportError('numpy is broken')\n")
    code = (
        'import sys\nsys.path.insert(0, sys.argv[1])\nfrom dnn_offload.cli.main import main\n'
        "sys.exit(main(['doctor', '--json', '--only', 'python,pictures,fps']))\n"
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{ROOT}'}, timeout=60,
    )
    assert done.returncode == 1, done.stderr
    checks = {check['name']: check for check in json.loads(done.stdout)['checks']}
    assert checks['python']['state'] in ('ok', 'warning')
    assert checks['pictures']['found'] == 'numpy does not work: ImportError: numpy is broken'
    assert checks['fps']['found'] == 'it cannot be made: numpy is broken'


def test_ctrl_c_ends_the_doctor_and_its_children() -> None:
    code = (
        'import sys\nfrom dnn_offload.cli.main import main\n'
        "sys.exit(main(['doctor', '--only', 'multicast']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

    def children() -> list[psutil.Process]:
        found = []
        for child in psutil.Process(process.pid).children():
            with contextlib.suppress(psutil.Error):  # one that has ended meanwhile
                if 'try_multicast.py' in ' '.join(child.cmdline()):
                    found.append(child)
        return found

    end_s = time.monotonic() + 30.0
    while not (started := children()) and time.monotonic() < end_s:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert started and not psutil.wait_procs(started, 5.0)[1]


def test_exit_status() -> None:
    warned = [Result('a', fine('x'), 0.0), Result('b', warning('x', 'y'), 0.0)]
    assert exit_status(warned) == 0 and exit_status(warned, strict=True) == 1
    assert exit_status([*warned, Result('c', failure('x', 'y'), 0.0)]) == 1
    assert exit_status([Result('d', skipped('x'), 0.0)], strict=True) == 0


def test_checks_by_name() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    made, left_out = choose(['shm', 'python', 'psi'], ['psi'])
    assert [check.name for check in made] == ['python', 'shm']
    assert [check.name for check in left_out] == ['psi']
    with pytest.raises(ConfigurationError, match='allowed: psi, python'):
        choose(['pithon'])


def test_a_child_may_die_or_hang_with_all_that_it_started(tmp_path: Path) -> None:
    machine = Machine()
    ended = machine.run(['sh', '-c', 'kill -ILL $$'], 5.0)
    assert (ended.signal, ended.answer) == ('SIGILL', None) and 'SIGILL' in ended.why
    mark = tmp_path / 'mark'
    began_s = time.monotonic()
    slow = machine.run(['sh', '-c', f'(sleep 3; touch {mark}) & sleep 30'], 0.3)
    assert slow.timed_out and time.monotonic() - began_s < 2.5
    assert 'did not end within' in slow.why
    assert machine.run(['no-such-program']).missing
    assert machine.child('no_such_child', limit_s=1.0).missing
    time.sleep(3.2)
    assert not mark.exists()


def test_what_a_child_said(tmp_path: Path) -> None:
    ended = Ended(0, 'a warning\n{"step": "one"}\n{"step": "two"}\n')
    assert ended.answer == {'step': 'two'}
    died = Ended(-11, '{"step": "one"}\nnoise')
    assert died.answer is None and died.last == {'step': 'one'}
    assert Ended(1, errors='Traceback\nValueError: no\n').why == 'ValueError: no'


def test_the_doctor_ends_its_children_when_it_ends() -> None:
    machine = Machine()
    found: list[Ended] = []
    thread = threading.Thread(target=lambda: found.append(machine.run(['sleep', '30'], 60.0)))
    thread.start()
    while not machine._running:
        time.sleep(0.01)
    machine.close()
    thread.join(5.0)
    assert found[0].signal == 'SIGKILL'


def test_a_lock_of_a_living_process_is_seen(tmp_path: Path) -> None:
    path = tmp_path / 'segment_el'
    path.touch()
    code = (
        'import fcntl, sys\nfile = open(sys.argv[1])\nfcntl.flock(file, fcntl.LOCK_EX)\n'
        'print("held", flush=True)\nsys.stdin.read()\n'
    )
    owner = subprocess.Popen(
        [sys.executable, '-c', code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert owner.stdout is not None and owner.stdout.readline() == b'held\n'
    assert Machine().locked(path) is True
    owner.kill()
    owner.communicate()
    assert Machine().locked(path) is False
    assert Machine().locked(tmp_path / 'none') is None


def test_names_are_relative_to_where_the_user_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'recorded'
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f'{number}.png'), np.zeros((48, 64, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert Machine().exists('recorded/0.png')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    status = cli.main(['doctor', '--json', '--only', 'camera', '--camera', 'recorded'])
    check = json.loads(capsys.readouterr().out)['checks'][0]
    assert status == 0 and check['state'] == 'ok', check
    assert (check['facts']['source'], check['facts']['width']) == ('recorded', 64)
    # Children are started by their path: modules of the user's are not theirs.
    (tmp_path / 'cv2.py').write_text("raise ImportError('of the user')\n")
    assert cli.main(['doctor', '--json', '--only', 'camera', '--camera', 'recorded']) == 0


def test_files_that_are_not_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.read('/proc/nothing') is None and machine.number('/proc/nothing') is None
    assert machine.names('/proc') == [] and machine.space('/dev/shm') is None
    assert Machine().space('/tmp') is not None


def test_lines_for_people(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('COLUMNS', '60')
    checks = (
        Check('good', '', lambda exam: fine('all is well')),
        Check('bad', '', lambda exam: failure('[it] is broken ' * 5, 'mend it')),
    )
    monkeypatch.setattr('dnn_offload.doctor.registry.CHECKS', checks)
    assert cli.main(['doctor', '--skip', 'good']) == 1
    rows = capsys.readouterr().out.splitlines()
    assert 'skipped good        left out by --skip' in rows
    assert 'failure bad         [it] is broken [it] is broken [it] is' in rows
    assert '                    → mend it' in rows
    assert rows[-1].startswith('0 ok, 1 skipped, 0 warnings, 1 failure; ')
    assert not [row for row in rows if row != row.rstrip()]


def test_json_for_scripts_from_a_real_machine(capsys: pytest.CaptureFixture[str]) -> None:
    only = 'python,packages,buffers,fragments,shm,psi,wifi,clock,throttling'
    status = cli.main(['doctor', '--json', '--only', only])
    report = json.loads(capsys.readouterr().out)
    assert report['exit_status'] == status
    assert [check['name'] for check in report['checks']] == [
        check.name for check in CHECKS if check.name in only.split(',')
    ]
    for check in report['checks']:
        assert check['state'] in {state.value for state in State}
        assert check['found'] and 'the check itself failed' not in check['found']
        assert check['cure'] or check['state'] in ('ok', 'skipped')


def test_json_has_no_nan() -> None:
    found = fine('x').knowing(load=math.nan, servers=[{'queue_ms': math.inf, 'name': 'a'}])
    report = as_json([Result('a', found, 0.0)], '0.1.0', False)
    assert report['checks'][0]['facts'] == {
        'load': None, 'servers': [{'queue_ms': None, 'name': 'a'}],
    }
    json.dumps(report, allow_nan=False)


def test_unknown_names_and_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(['doctor', '--only', 'pithon']) == 2
    assert 'no such check; given: pithon; allowed: psi, python' in capsys.readouterr().err
    for option in ('--only=', '--skip='):
        assert cli.main(['doctor', option]) == 2
        said = capsys.readouterr().err
        assert said.startswith('dnn-offload: no such check; given: nothing; allowed: psi')
    assert cli.main(['doctor', '--list']) == 0
    listed = capsys.readouterr().out
    assert all(check.name in listed and check.about in listed for check in CHECKS)


def test_arguments_reach_the_checks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Examination] = []

    def look(exam: Examination) -> Finding:
        seen.append(exam)
        return fine('looked')

    monkeypatch.setattr(
        'dnn_offload.doctor.registry.CHECKS', (Check('look', '', look),)
    )
    line = 'doctor torchvision:resnet18 --weights random --camera 2 --domain 9 --namespace second'
    assert cli.main([*line.split(), '--listen', '1', '--patience', '2', '--strict']) == 0
    exam = seen[0]
    assert exam.settings.model == 'torchvision:resnet18' and exam.settings.weights == 'random'
    assert (exam.settings.camera, exam.settings.namespace) == ('2', 'second')
    assert exam.settings.limit_s(10.0) == 20.0
    assert exam.machine.environment['ROS_DOMAIN_ID'] == '9'


def test_the_documentation_names_every_check_and_argument() -> None:
    text = (ROOT / 'docs/doctor.md').read_text(encoding='utf-8')
    for check in CHECKS:
        assert f'| `{check.name}` |' in text, check.name
    parser = doctor_command.argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    doctor_command.add_parser(subparsers)
    for action in subparsers.choices['doctor']._actions:
        for option in action.option_strings:
            assert option in ('-h', '--help') or f'`{option}' in text, option


def test_children_answer_on_this_machine() -> None:
    exam = Examination(Settings(), Machine())
    installed = exam.install().answer
    assert installed is not None and installed['folder']
    assert examination(MadeUpMachine(Path('/'))).install().answer is not None
