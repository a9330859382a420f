"""The loader of a network: what it calls back, and that it stays silent once it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dnn_offload.errors import ConfigurationError, ModelError
from dnn_offload.nodes import model_loader
from dnn_offload.nodes.base import OffloadNode
from dnn_offload.nodes.model_loader import ModelLoader
from dnn_offload.runtime.preparation import Progress

DONE = Progress('done', 1.0, 'done', Path('folder'), profile_path=Path('profile'))
FIRST = Progress(
    'profile', 0.5, 'measuring', Path('folder'), provisional_path=Path('provisional')
)


class Node:
    """As much of a node as a loader needs; its only timer is turned by hand."""

    def __init__(self) -> None:
        self.poll: Callable[[], None] | None = None
        self.cancelled = 0
        self.said: list[str] = []

    def setting(self, name: str) -> Any:
        return {'threads': 1, 'backend': 'auto'}[name]

    def steady_timer(self, period_s: float, callback: Callable[[], None]) -> Any:
        self.poll = callback
        return SimpleNamespace(cancel=self._cancel)

    def destroy_timer(self, timer: Any) -> None:
        self.poll = None

    def get_logger(self) -> Any:
        return SimpleNamespace(
            info=self.said.append, warning=self.said.append, error=self.said.append
        )

    def _cancel(self) -> None:
        self.cancelled += 1


class Watch:
    """Stands for the preparation: is as far as the test says."""

    def __init__(self, setting: Any, role: str) -> None:
        self.stopped, self.failure, self.setting = 0, '', setting
        self.anew: list[str] = []
        Watch.last = self

    def poll(self, now_s: float) -> Progress:
        return Watch.progress

    def prepare_anew(self, why: str) -> None:
        self.anew.append(why)

    def stop(self) -> None:
        self.stopped += 1

    last: Watch
    progress = Progress('export', 0.1, 'tracing')


class Loads:
    """Stands for ``load_prepared_model`` and ``load_measured``: each waits until it may go on."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.backends: list[str] = []
        self.began, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.error: Exception | None = None

    def load(self, folder: Path, path: Path, threads: int, **more: Any) -> Any:
        self.backends.append(more['backend'])
        return self._made(path)

    def load_measured(self, prepared: Any, folder: Path, path: Path, **more: Any) -> Any:
        self.backends.append(more['backend'])
        return self._made(path)

    def _made(self, path: Path) -> Any:
        self.asked.append(path)
        self.began.release()
        assert self.go_on.acquire(timeout=20.0)
        if self.error is not None:
            raise self.error
        provisional = 'a first look' if path.name == 'provisional' else ''
        return SimpleNamespace(
            model=SimpleNamespace(
                program=SimpleNamespace(source='tiny', cuts=(1, 2)), backend='torch'
            ),
            profile=SimpleNamespace(whole_ms=1.0, provisional=provisional),
        )


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    made = Loads()
    monkeypatch.setattr(model_loader, 'PreparationWatch', Watch)
    monkeypatch.setattr(model_loader, 'load_prepared_model', made.load)
    monkeypatch.setattr(model_loader, 'load_measured', made.load_measured)
    yield made
    for _ in range(10):
        made.go_on.release()


class Called:
    """A loader, its node, and what it called back."""

    def __init__(self) -> None:
        self.node = Node()
        self.back: list[str] = []
        self.loader = ModelLoader(
            cast('OffloadNode', self.node), 'edge',
            on_loaded=lambda model: self.back.append('loaded'),
            on_measured=lambda model: self.back.append('measured'),
            on_failed=lambda why: self.back.append(f'failed: {why}'),
        )

    def poll(self) -> None:
        assert self.node.poll is not None
        self.node.poll()

    def finish(self, loads: Loads) -> None:
        """Let the load that runs end, and take it."""
        loads.go_on.release()
        future = self.loader._loading
        assert future is not None
        future.exception(timeout=20.0)
        self.poll()


def test_a_provisional_profile_comes_first_and_the_measured_one_follows(loads: Loads) -> None:
    called = Called()
    Watch.progress = FIRST
    called.poll()
    assert loads.began.acquire(timeout=20.0) and called.back == []
    called.finish(loads)
    assert called.back == ['loaded'] and Watch.last.stopped == 0
    Watch.progress = DONE
    called.poll()
    called.finish(loads)
    assert called.back == ['loaded', 'measured']
    assert [path.name for path in loads.asked] == ['provisional', 'profile']
    assert loads.backends == ['torch', 'auto'], 'a provisional profile is of torch'
    assert Watch.last.stopped == 1 and called.node.cancelled == 1


def test_stopped_while_it_loads_nothing_is_called_back(loads: Loads) -> None:
    called = Called()
    Watch.progress = DONE
    called.poll()
    assert loads.began.acquire(timeout=20.0)
    poll, loading = called.node.poll, called.loader._loading
    called.loader.stop()
    assert called.node.poll is None and Watch.last.stopped == 1
    loads.go_on.release()
    assert loading is not None and loading.result(timeout=20.0) is not None
    assert poll is not None and called.back == []


def test_a_loader_that_follows_waits_for_the_load_of_the_one_before(loads: Loads) -> None:
    before, after = Called(), Called()
    Watch.progress = DONE
    before.poll()
    assert loads.began.acquire(timeout=20.0)
    before.loader.stop()
    after.poll()
    assert not loads.began.acquire(timeout=0.1)  # never two networks at the same time
    loads.go_on.release()
    assert loads.began.acquire(timeout=20.0)
    after.finish(loads)
    assert (before.back, after.back) == ([], ['loaded'])


def test_a_loader_stopped_before_its_turn_never_loads(loads: Loads) -> None:
    before, waiting = Called(), Called()
    Watch.progress = DONE
    before.poll()
    assert loads.began.acquire(timeout=20.0)
    waiting.poll()
    waiting.loader.stop()
    before.finish(loads)
    assert not loads.began.acquire(timeout=0.1)
    assert before.back == ['loaded'] and len(loads.asked) == 1


def refused(loads: Loads, error: Exception) -> Called:
    """A loader whose network was prepared and raised this when it was loaded."""
    called = Called()
    Watch.progress = DONE
    loads.error = error
    called.poll()
    called.finish(loads)
    return called


def test_what_cannot_be_loaded_is_prepared_anew_once(loads: Loads) -> None:
    called = refused(loads, ModelError('damaged'))
    (said,) = called.back
    assert 'cannot use the prepared network: damaged' in said and 'anew' in said
    assert [f'failed: {why}' for why in Watch.last.anew] == [said]
    assert Watch.last.stopped == called.node.cancelled == 0
    called.poll()
    called.finish(loads)
    (final,) = called.back[1:]
    assert final.startswith('failed: cannot use the prepared network: damaged; set its parameters')
    assert final == f'failed: {called.loader.failure}'
    assert len(Watch.last.anew) == Watch.last.stopped == called.node.cancelled == 1


def test_the_network_that_was_prepared_anew_is_taken(loads: Loads) -> None:
    called = refused(loads, RuntimeError('whatever torch raises'))
    loads.error = None
    called.poll()
    called.finish(loads)
    assert 'RuntimeError: whatever' in called.back[0] and called.back[1:] == ['loaded']
    assert called.loader.failure == ''


def test_a_network_that_no_node_can_run_is_said_once_and_not_prepared_anew(loads: Loads) -> None:
    called = refused(loads, ConfigurationError('the nodes cannot run this network'))
    (said,) = called.back
    assert 'network: the nodes cannot run this network; set its parameters right' in said
    assert called.loader.failure in said and called.node.cancelled == 1
    assert Watch.last.anew == []


def test_warnings_of_the_preparation_are_logged_once_each(loads: Loads) -> None:
    called = Called()
    for stage, warnings in (
        ('cache', ('one',)), ('export', ('one',)), ('failed', ('one', 'two')), ('waiting', ()),
        ('cache', ('one',)),
    ):
        Watch.progress = Progress(stage, 0.0, 'at it', warnings=warnings)
        called.poll()
    assert called.node.said == ['one', 'two']
