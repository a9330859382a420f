"""The preparation process and its handle: cache, progress, failures, death of the parent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from dnn_offload.cost.predict.joining import OWN_LAYERS_FILE, read_own_layers
from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.graph.program import Program, PROGRAM_FILE
from dnn_offload.graph.weights_file import WEIGHTS_FILE
from dnn_offload.runtime import profile_quick
from dnn_offload.runtime.model_cache import (
    cache_key,
    cached_profile,
    CHECK_SUMS,
    ModelRequest,
)
from dnn_offload.runtime.preparation import Preparation, Progress
from dnn_offload.runtime.prepare import main, prepare
from dnn_offload.runtime.profile_wishes import FIRST, ONLY, ProfileWishes, read_thread_counts

TEST = Path(__file__).parent
REQUEST = ModelRequest('python:tiny_factory:make', allow_code=True)


@pytest.fixture(autouse=True)
def paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join((str(TEST.parent), str(TEST))))


def finish(preparation: Preparation, timeout_s: float = 90.0) -> list[Progress]:
    """Poll to the end; all different states that were seen."""
    seen: list[Progress] = []
    end_s = time.monotonic() + timeout_s
    while not seen or not seen[-1].finished:
        progress = preparation.poll()
        if not seen or progress != seen[-1]:
            seen.append(progress)
        assert time.monotonic() < end_s, seen
        time.sleep(0.02)
    return seen


@pytest.fixture(scope='module')
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp('cache')


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Preparation]:
    preparation = Preparation(REQUEST, tmp_path, profile_budget_s=0.3)
    preparation.start()
    yield preparation
    preparation.stop()


def test_exports_profiles_and_says_so_then_takes_it_from_the_cache(cache: Path) -> None:
    first = Preparation(REQUEST, cache, profile_budget_s=0.5)
    assert first.poll() == Progress()
    first.start()
    seen = finish(first)
    assert seen[-1].stage == 'done', seen[-1].message
    stages = [progress.stage for progress in seen]
    assert stages[0] == 'starting' and {'export', 'profile'} <= set(stages)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    loadable = next(progress for progress in seen if progress.folder is not None)
    assert loadable.stage == 'profile' and loadable.profile_path is None
    folder, path = seen[-1].folder, seen[-1].profile_path
    assert folder is not None and path is not None
    program = Program.load(folder)
    profile = Profile.from_json(path.read_text())
    assert profile.model_identity == program.identity

    started_s = time.monotonic()
    second = Preparation(REQUEST, cache)
    second.start()
    again = finish(second)
    assert again[-1] == seen[-1]
    assert 'export' not in [progress.stage for progress in again]
    # 0.4 s on a quiet machine; imports torch if it takes longer than this on any.
    assert time.monotonic() - started_s < 5.0


def test_cached_start_does_not_import_torch(cache: Path) -> None:
    prepare(REQUEST, cache, 0.3, True, lambda *args, **more: None)  # in case it runs alone
    code = (
        'import sys, dnn_offload.runtime.prepare as p; '
        f'p.prepare(p.ModelRequest({REQUEST.source!r}, allow_code=True), p.Path({str(cache)!r}), '
        '0.3, True, lambda *a, **m: None); '
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_damaged_cache_is_made_again(cache: Path) -> None:
    prepare(REQUEST, cache, 0.3, True, lambda *args, **more: None)
    folder = cache / cache_key(REQUEST)
    (folder / PROGRAM_FILE).write_text('{"schema_version": 1')
    (folder / REQUEST.profile_name).write_text('{}')
    stages = []
    prepare(REQUEST, cache, 0.3, True, lambda stage, *args, **more: stages.append(stage))
    assert 'export' in stages
    program = Program.load(folder)
    assert cached_profile(folder / REQUEST.profile_name, program) is not None
    other = replace(program, identity='another')
    assert cached_profile(folder / REQUEST.profile_name, other) is None


def test_a_program_that_does_not_run_is_made_again_once(tmp_path: Path) -> None:
    cache = tmp_path / 'cache'
    prepare(REQUEST, cache, 0.3, False, lambda *args, **more: None)
    folder = cache / cache_key(REQUEST)
    whole = (folder / PROGRAM_FILE).read_text()
    # Of the right form, but torch cannot run it; without the seal, which would tell.
    broken = whole.replace('aten.conv2d.default', 'aten.relu.default', 1)
    assert broken != whole
    (folder / PROGRAM_FILE).write_text(broken)
    (folder / CHECK_SUMS).unlink()
    said: list[tuple[str, str]] = []
    prepare(
        REQUEST, cache, 0.3, True,
        lambda stage, fraction, message, **more: said.append((stage, more.get('warning', ''))),
    )
    assert [stage for stage, _ in said].count('export') >= 2  # steps of one export
    assert any('does not run' in warning for _, warning in said)
    assert (folder / PROGRAM_FILE).read_text() == whole
    assert (folder / REQUEST.profile_name).is_file()


def stages_and_warnings(cache: Path, **more: Any) -> tuple[list[str], list[str]]:
    stages: list[str] = []
    warnings: list[str] = []

    def report(stage: str, fraction: float, message: str, **told: str) -> None:
        stages.append(stage)
        warnings.extend([told['warning']] if 'warning' in told else [])

    prepare(REQUEST, cache, 0.3, True, report, **more)
    return stages, warnings


@pytest.mark.parametrize('length', [0, 7, -1])
def test_weights_cut_short_by_a_power_cut_are_exported_again(cache: Path, length: int) -> None:
    prepare(REQUEST, cache, 0.3, True, lambda *args, **more: None)
    folder = cache / cache_key(REQUEST)
    path, whole = folder / WEIGHTS_FILE, (folder / WEIGHTS_FILE).read_bytes()
    path.write_bytes(whole[:length])
    stages, (warning,) = stages_and_warnings(cache)
    assert 'export' in stages and str(path) in warning and 'exported anew' in warning
    assert path.read_bytes() == whole
    stages, warnings = stages_and_warnings(cache)
    assert 'export' not in stages and not warnings


def test_a_damaged_profile_is_measured_again_and_said(cache: Path) -> None:
    prepare(REQUEST, cache, 0.3, True, lambda *args, **more: None)
    path = cache / cache_key(REQUEST) / REQUEST.profile_name
    data = json.loads(path.read_text())
    data['cuts'][0]['depth'] = float('inf')
    path.write_text(json.dumps(data))
    stages, (warning,) = stages_and_warnings(cache)
    assert 'export' not in stages and str(path) in warning and 'measured anew' in warning
    assert Profile.from_json(path.read_text()).cuts[0].depth == 0


def test_anew_takes_nothing_from_the_cache_and_leaves_no_leftovers(cache: Path) -> None:
    prepare(REQUEST, cache, 0.3, True, lambda *args, **more: None)
    folder = cache / cache_key(REQUEST)
    names = (PROGRAM_FILE, WEIGHTS_FILE, REQUEST.profile_name)
    before = [(folder / name).stat().st_ino for name in names]
    ended = subprocess.Popen(['true'])
    ended.wait()
    leftover = folder / f'weights.{ended.pid}.part'
    leftover.write_bytes(b'half')
    stages, _ = stages_and_warnings(cache, anew=True)
    assert 'export' in stages and not leftover.exists()
    after = [(folder / name).stat().st_ino for name in names]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_a_provisional_profile_comes_first_and_is_not_taken_for_the_measured_one(
    tmp_path: Path,
) -> None:
    """Two starts: what was provisional in the first is measured in the second's cache."""
    def start(wishes: ProfileWishes) -> list[Progress]:
        preparation = Preparation(REQUEST, tmp_path, profile_budget_s=0.5, wishes=wishes)
        preparation.start()
        return finish(preparation)

    only = start(ProfileWishes(provisional=ONLY))[-1]
    assert only.stage == 'done' and only.profile_path == only.provisional_path
    seen = start(ProfileWishes(provisional=FIRST))
    first = next(progress for progress in seen if progress.provisional_path is not None)
    assert first.stage == 'profile' and first.profile_path is None and first.folder is not None
    last = seen[-1]
    assert last.stage == 'done' and last.profile_path != first.provisional_path
    assert first.provisional_path is not None and last.profile_path is not None
    provisional = Profile.from_json(first.provisional_path.read_text())
    measured = Profile.from_json(last.profile_path.read_text())
    assert provisional.provisional and not measured.provisional
    assert provisional.model_identity == measured.model_identity
    # On the same machine a moment apart, which may be busy: of the same order.
    assert 1 / 5 < provisional.whole_ms / measured.whole_ms < 5
    for wish in (FIRST, ONLY):  # what is measured is better than what is provisional
        again = start(ProfileWishes(provisional=wish))[-1]
        assert again.profile_path == last.profile_path and again.provisional_path is None


def test_what_was_measured_joins_and_the_next_profile_is_predicted_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def start(**changes: object) -> None:
        wishes = ProfileWishes(**changes)  # type: ignore[arg-type]
        prepare(REQUEST, tmp_path, 0.3, True, lambda stage, at, text, **more: told.append(text),
                True, wishes)

    start()
    path = tmp_path / OWN_LAYERS_FILE
    (network,) = read_own_layers(path)
    program = Program.load(tmp_path / cache_key(REQUEST))
    assert network.model_identity == program.identity
    assert len(network.layers) == len(program.instructions)

    got = []
    real = profile_quick.quick_profile

    def quick(*args: Any, **more: Any) -> Profile:
        got.append(more['elsewhere'])
        return real(*args, **more)

    monkeypatch.setattr(profile_quick, 'quick_profile', quick)
    start(provisional=ONLY)
    assert [len(layers) for layers in got[-1]] == [len(program.instructions)]
    # A provisional profile is predicted: it does not join.
    assert read_own_layers(path) == (network,)
    # A damaged file is told, stops nobody, and is made anew by what is measured next.
    path.write_text('{"schema_version": 1')
    assert not any('damaged' in text for text in told)
    start(provisional=FIRST)
    assert got[-1] == () and any('damaged' in text for text in told)
    assert [item.model for item in read_own_layers(path)] == [REQUEST.source]
    # Nor does one that cannot be written.
    path.unlink()
    path.mkdir()
    start()
    assert any('not kept' in text for text in told)


def test_agreement_is_measured_once_and_kept_with_the_network(
    tmp_path: Path, cache: Path
) -> None:
    prepare(REQUEST, cache, 0.3, True, lambda *args, **more: None)
    path = cache / cache_key(REQUEST) / REQUEST.profile_name
    before = Profile.from_json(path.read_text())
    assert before.agreement_frames == 0
    wishes = ProfileWishes(agreement=True, frame_count=3, agreement_budget_s=20.0)

    def stages_of(request: ModelRequest, again: bool, wishes: ProfileWishes) -> list[str]:
        stages: list[str] = []
        prepare(request, cache, 0.3, True, lambda stage, *args, **more: stages.append(stage),
                again, wishes)
        return stages

    assert 'agreement' in stages_of(REQUEST, False, wishes)
    measured = Profile.from_json(path.read_text())
    assert measured.agreement_frames == 3
    assert measured.whole_ms == before.whole_ms  # the times are those of before
    assert 'agreement' not in stages_of(REQUEST, False, wishes)
    assert 'agreement' in stages_of(REQUEST, False, replace(wishes, agreement_again=True))

    # New times, another role: what codecs do is known already.
    server = replace(REQUEST, role='server')
    for request, again in ((REQUEST, True), (server, False)):
        assert 'agreement' not in stages_of(request, again, ProfileWishes())
        made = Profile.from_json((path.parent / request.profile_name).read_text())
        assert made.agreement_frames == 3
        assert made.cuts[0].codecs['jpeg'].agreement is not None

    with pytest.raises(ConfigurationError, match='no frames'):
        stages_of(REQUEST, False, replace(wishes, agreement_again=True, frames=tmp_path / 'none'))


def test_wishes_reach_the_child_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[ProfileWishes] = []
    monkeypatch.setattr(
        'dnn_offload.runtime.prepare.prepare', lambda *args: got.append(args[-2])
    )
    monkeypatch.setattr('os.dup2', lambda *args: None)
    monkeypatch.setattr('sys.stdout', sys.stdout)
    for wishes in (
        ProfileWishes(),
        ProfileWishes(0.5, (1, 4), True, True, 9.0, Path('frames'), 12, FIRST),
        ProfileWishes(thread_counts=()),
    ):
        assert main(['--source', 'demo:detector', '--cache', 'c', *wishes.arguments()]) == 0
        assert got[-1] == wishes


@pytest.mark.parametrize('bad', [
    {'fraction': 0.0}, {'fraction': 1.1}, {'thread_counts': (0,)}, {'frame_count': 0},
    {'agreement_budget_s': 0.0}, {'provisional': 'maybe'},
    {'provisional': ONLY, 'agreement': True},
])
def test_bad_wishes_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ProfileWishes(**bad)  # type: ignore[arg-type]


def test_lists_of_threads() -> None:
    assert read_thread_counts('') is None and read_thread_counts('none') == ()
    assert read_thread_counts('1,2,2,4') == (1, 2, 4)
    with pytest.raises(ConfigurationError, match='not understood'):
        read_thread_counts('many')


def test_failure_is_reported_with_its_reason(tmp_path: Path) -> None:
    for source, allow, reason in (
        ('python:tiny_factory:make', False, 'allow_code'),
        ('python:tiny_factory:broken', True, 'on purpose'),
        ('torchvision:no_such_network', False, 'no_such_network'),
        ('carrier pigeon', False, 'not understood'),
    ):
        preparation = Preparation(ModelRequest(source, 'random', allow), tmp_path)
        preparation.start()
        end = finish(preparation)[-1]
        assert end.stage == 'failed' and reason in end.message, end


def test_child_that_is_killed_is_noticed(started: Preparation) -> None:
    process = started._process
    assert process is not None
    process.kill()
    assert finish(started)[-1].stage == 'failed'


def test_stop_ends_the_child(started: Preparation) -> None:
    process = started._process
    started.stop()
    assert process is not None and process.returncode is not None
    assert started.poll().stage == 'failed'
    started.stop()


def test_child_dies_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        'import time\n'
        'from dnn_offload.runtime.preparation import Preparation, ModelRequest\n'
        f'p = Preparation(ModelRequest("python:tiny_factory:make", allow_code=True), '
        f'{str(tmp_path)!r}, profile_budget_s=60.0)\n'
        'p.start()\n'
        'print(p._process.pid, flush=True)\n'
        'time.sleep(60)\n'
    )
    parent = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end_s = time.monotonic() + 20.0
    while _runs(child):
        assert time.monotonic() < end_s
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process computes still (a zombie that init has not reaped does not)."""
    try:
        return 'State:\tZ' not in Path(f'/proc/{pid}/status').read_text()
    except OSError:
        return False


def test_key_changes_with_what_could_change_the_program(tmp_path: Path) -> None:
    weights = tmp_path / 'w.safetensors'
    weights.write_bytes(b'one')
    request = ModelRequest('torchvision:alexnet', str(weights))
    keys = {cache_key(request), cache_key(ModelRequest('torchvision:alexnet'))}
    keys.add(cache_key(ModelRequest('torchvision:alexnet', input_size='64x96')))
    keys.add(cache_key(ModelRequest('torchvision:vgg16')))
    weights.write_bytes(b'two')
    keys.add(cache_key(request))
    assert len(keys) == 5
    assert cache_key(ModelRequest('torchvision:vgg16', role='server', threads=4)) in keys
    assert request.profile_name == 'profile_edge_torch_1t.json'


@pytest.mark.parametrize(
    'bad', [{'role': 'cloud'}, {'threads': 0}, {'input_size': 'large'}, {'input_size': '3x'}]
)
def test_bad_requests_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        ModelRequest('torchvision:alexnet', **bad)  # type: ignore[arg-type]
