"""The network's preparation is tried again, with pauses that grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from dnn_offload.errors import ConfigurationError
from dnn_offload.nodes.model_parameters import MODEL_PARAMETERS
from dnn_offload.nodes.model_preparation import PreparationWatch, start_preparation
from dnn_offload.runtime.preparation import Preparation, Progress


class Attempts:
    """Stands for ``start_preparation``: each attempt tells the progress it is given."""

    def __init__(self) -> None:
        self.count = 0
        self.stopped = 0
        self.crashed = False
        self.threads: list[int] = []
        self.anew: list[bool] = []
        self.progress = Progress('export', 0.5, 'tracing')
        self.error: Exception | None = None

    def start(self, setting: Any, role: str, anew: bool) -> Preparation:
        assert (setting('model'), role) == ('demo:detector', 'server')
        if self.error is not None:
            raise self.error
        self.count += 1
        self.threads.append(setting('threads'))
        self.anew.append(anew)
        return cast('Preparation', self)

    def poll(self) -> Progress:
        return self.progress

    def stop(self) -> None:
        self.stopped += 1


def settings() -> dict[str, Any]:
    return {spec.name: spec.default for spec in MODEL_PARAMETERS}


def watch_of(attempts: Attempts) -> PreparationWatch:
    return PreparationWatch(settings().__getitem__, 'server', start=attempts.start)


def test_an_attempt_that_works_is_followed_to_the_end() -> None:
    attempts = Attempts()
    watch = watch_of(attempts)
    assert watch.poll(0.0).stage == 'export' and watch.failure == ''
    attempts.progress = Progress('done', 1.0, 'done', Path('folder'), Path('profile'))
    for now_s in (1.0, 2.0):
        assert watch.poll(now_s) == attempts.progress
    assert attempts.count == 1


@pytest.mark.parametrize(('provisional', 'backend', 'wish'), [
    (True, 'torch', 'first'), (False, 'torch', 'no'),
    (True, 'auto', 'first'), (False, 'auto', 'no'), (True, 'onnxruntime', 'first'),
])
def test_the_child_is_asked_for_a_provisional_profile_as_set(
    provisional: bool, backend: str, wish: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(Preparation, 'start', lambda self: asked.append(self._command))
    values = settings() | {
        'provisional_profile': provisional, 'backend': backend, 'cache_dir': str(tmp_path),
    }
    start_preparation(values.__getitem__, 'edge')
    (command,) = asked
    assert command[command.index('--provisional') + 1] == wish and '--anew' not in command
    start_preparation(values.__getitem__, 'edge', anew=True)
    assert '--anew' in asked[1]


def test_failures_are_repeated_after_5_s_to_60_s() -> None:
    attempts = Attempts()
    attempts.progress = Progress('failed', 0.0, 'no route to host')
    watch = watch_of(attempts)
    failed_s: list[float] = []
    for now_s in range(300):
        progress = watch.poll(float(now_s))
        assert 'no route to host' in progress.message and watch.failure == 'no route to host'
        if progress.stage == 'failed':
            failed_s.append(now_s)
        else:
            assert progress.stage == 'waiting' and 'next try in' in progress.message
    assert failed_s == [0, 5, 15, 35, 75, 135, 195, 255]
    assert attempts.count == len(failed_s)


def test_success_after_failures_clears_the_failure() -> None:
    attempts = Attempts()
    attempts.progress = Progress('failed', 0.0, 'no network')
    watch = watch_of(attempts)
    watch.poll(0.0)
    attempts.progress = Progress('cache', 0.1, 'looking')
    assert watch.poll(5.0).stage == 'cache'
    assert watch.failure == 'no network'  # nothing is better yet
    attempts.progress = Progress('done', 1.0)
    assert watch.poll(6.0).stage == 'done' and watch.failure == ''


def test_an_attempt_that_cannot_start_is_repeated_as_well() -> None:
    attempts = Attempts()
    attempts.progress = Progress('failed', 0.0, 'killed')
    watch = watch_of(attempts)
    watch.poll(0.0)
    attempts.error = OSError('cannot allocate memory')
    progress = watch.poll(5.0)
    assert progress.stage == 'failed' and 'cannot allocate memory' in progress.message
    attempts.error, attempts.progress = None, Progress('done', 1.0)
    assert watch.poll(14.9).stage == 'waiting'
    assert watch.poll(15.0).stage == 'done'


def test_what_is_set_right_while_it_waits_is_tried_at_once() -> None:
    attempts, values = Attempts(), settings()
    attempts.progress = Progress('failed', 0.0, 'no such weights')
    watch = PreparationWatch(values.__getitem__, 'server', start=attempts.start)
    assert 'as soon as a parameter of the network is set' in watch.poll(0.0).message
    assert watch.poll(1.0).stage == 'waiting'
    values['threads'] = 4
    assert watch.poll(1.1).stage == 'failed'
    assert watch.poll(1.2).stage == 'waiting'
    assert attempts.threads == [1, 4] and watch.setting('threads') == 4


def test_a_change_after_there_is_a_network_is_for_the_next_configure() -> None:
    attempts, values = Attempts(), settings()
    attempts.progress = Progress('profile', 0.5, 'loadable', Path('folder'))
    watch = PreparationWatch(values.__getitem__, 'server', start=attempts.start)
    watch.poll(0.0)
    attempts.progress = Progress('failed', 0.6, 'killed', Path('folder'))
    assert 'as soon' not in watch.poll(1.0).message
    values['threads'] = 4
    assert watch.poll(2.0).stage == 'waiting'
    watch.poll(6.0)
    assert attempts.threads == [1, 1] and watch.setting('threads') == 1


def test_what_cannot_be_used_is_prepared_anew_at_once_until_that_works() -> None:
    attempts = Attempts()
    attempts.progress = Progress('done', 1.0, 'done', Path('folder'), Path('profile'))
    watch = watch_of(attempts)
    assert watch.poll(0.0).stage == 'done'
    watch.prepare_anew('damaged')
    assert attempts.stopped == 1 and watch.failure == 'damaged'
    attempts.progress = Progress('failed', 0.0, 'no space left', warnings=('a library is old',))
    assert watch.poll(0.1) == Progress(
        'failed', 0.0, 'no space left; next try in 5 s', warnings=('a library is old',)
    )
    attempts.progress = Progress('done', 1.0)
    assert watch.poll(5.1).stage == 'done' and watch.failure == ''
    assert attempts.anew == [False, True, True]


def test_settings_that_make_no_sense_are_said_at_once() -> None:
    attempts = Attempts()
    attempts.error = ConfigurationError('no such role')
    with pytest.raises(ConfigurationError):
        watch_of(attempts)


def test_stop_ends_the_attempt_and_there_is_no_other() -> None:
    attempts = Attempts()
    watch = watch_of(attempts)
    watch.stop()
    watch.stop()
    assert attempts.stopped == 1
    assert watch.poll(1e6).stage == 'stopped' and attempts.count == 1


def test_an_attempt_that_crashes_takes_nothing_from_the_cache_the_next_time() -> None:
    attempts = Attempts()
    watch = watch_of(attempts)
    attempts.progress = Progress('failed', 0.0, 'the preparation process died from SIGSEGV')
    attempts.crashed = True
    assert watch.poll(0.0).stage == 'failed'
    attempts.progress = Progress('export', 0.5, 'tracing')
    assert watch.poll(100.0).stage == 'export'
    assert attempts.anew == [False, True]
