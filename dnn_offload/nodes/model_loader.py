"""From a node's parameters to its network in memory: a child prepares it, a thread loads it.

At a first start the network comes by torch, with a provisional profile; the measured one follows,
and with it the network by the backend that it is of.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
import time

from dnn_offload.errors import ConfigurationError, OffloadError
from dnn_offload.nodes.base import OffloadNode
from dnn_offload.nodes.model_preparation import PreparationWatch
from dnn_offload.runtime.backends.names import TORCH
from dnn_offload.runtime.preparation import Progress
from dnn_offload.runtime.prepared_model import (
    load_measured,
    load_prepared_model,
    PreparedModel,
)

POLL_PERIOD_S = 0.1
# One for all loaders of the process: two networks are never loaded at the same time, even if a
# node is cleaned up and configured again while the first load still runs.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix='loader')


class ModelLoader:
    """Follows preparation and loading with a timer of the node; never blocks.

    Make it in ``configure``, ``stop`` it in ``cleanup``. All callbacks run on the executor's
    thread.

    Args:
        node: Gives the parameters of ``model_parameters.py``.
        role: ``edge`` or ``server``.
        on_loaded: Called once, with the network; its profile may be provisional.
        on_measured: Called once after that if it was, with the measured profile and the same
            network: the one that was loaded, or another if the profile is of another backend.
        on_failed: Called with the reason of each failed attempt to get a network;
            ``PreparationWatch`` goes on trying. What was prepared and cannot be used is prepared
            anew, once: it may have been damaged on the disk; the second time is the end.
            Attempts to get the measured profile are only logged.
        on_progress: Called with what is going on, in words, while an attempt runs.

    Attributes:
        progress: What is going on, in words.

    Raises:
        ConfigurationError: The parameters make no sense together.
    """

    def __init__(
        self,
        node: OffloadNode,
        role: str,
        *,
        on_loaded: Callable[[PreparedModel], None],
        on_measured: Callable[[PreparedModel], None],
        on_failed: Callable[[str], None],
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._node = node
        self._on_loaded = on_loaded
        self._on_measured = on_measured
        self._on_failed = on_failed
        self._on_progress = on_progress
        self.progress = 'starting'
        self._broken = ''
        self._anew = False
        self._warned: set[str] = set()
        self._loaded: PreparedModel | None = None
        self._loading: Future[PreparedModel] | None = None
        self._watch = PreparationWatch(node.setting, role)
        self._timer = node.steady_timer(POLL_PERIOD_S, self._poll)

    @property
    def failure(self) -> str:
        """Why there is no network yet, if an attempt has failed; else ''."""
        return '' if self._loaded is not None else self._broken or self._watch.failure

    def stop(self) -> None:
        """End what runs; nothing is called back afterwards."""
        self._watch.stop()
        if self._loading is not None:
            self._loading.cancel()
        self._node.destroy_timer(self._timer)

    def _poll(self) -> None:
        if self._loading is not None:
            if self._loading.done():
                loading, self._loading = self._loading, None
                self._take(loading)
            return
        progress = self._watch.poll(time.monotonic())
        for text in progress.warnings:
            self._warn(text)
        if progress.stage == 'failed':
            self.progress = progress.message
            if self._loaded is None:
                self._on_failed(progress.message)
            else:
                self._node.get_logger().warning(f'no measured profile: {progress.message}')
        elif progress.stage == 'waiting':
            self.progress = progress.message
        elif not self._load(progress):
            self._say(
                f'{progress.stage} {100.0 * progress.fraction:.0f} %: {progress.message}'
            )

    def _load(self, progress: Progress) -> bool:
        """Load what is there by now and was not before; False if there is nothing."""
        measured = progress.stage == 'done'
        path = progress.profile_path if measured else progress.provisional_path
        if path is None or (self._loaded is not None and not measured):
            return False
        assert progress.folder is not None
        # A provisional profile is torch's, whatever shall run the network later.
        backend = self._watch.setting('backend') if measured else TORCH
        if self._loaded is None:
            self._say('loading the network')
            self._loading = _THREAD.submit(
                load_prepared_model, progress.folder, path,
                self._watch.setting('threads'),  # the profile is of this many
                backend=backend, log=self._warn,
            )
        else:
            self._say('loading the measured profile')
            self._loading = _THREAD.submit(
                load_measured, self._loaded, progress.folder, path, backend=backend,
                log=self._warn,
            )
        return True

    def _warn(self, text: str) -> None:
        """Once each: what preparing found may be found again in loading, and by the next try."""
        if text not in self._warned:
            self._warned.add(text)
            self._node.get_logger().warning(text)

    def _say(self, text: str) -> None:
        self.progress = text
        if self._loaded is None:
            self._on_progress(text)

    def _take(self, loading: Future[PreparedModel]) -> None:
        """What was prepared is loaded, or cannot be used."""
        try:
            model = loading.result()
        except Exception as error:  # whatever torch raises while loading
            self._refuse(error)
            return
        first, self._loaded = self._loaded is None, model
        program, profile = model.model.program, model.profile
        self._node.get_logger().info(
            f'{program.source} is {"prepared" if first else "measured"}: {len(program.cuts)} '
            f'cuts, whole network {profile.whole_ms:.1f} ms by {model.model.backend}'
            + (f'; provisional: {profile.provisional}' if profile.provisional else '')
        )
        if not profile.provisional:
            self._end()
        if first:
            self._on_loaded(model)
        else:
            self._on_measured(model)

    def _refuse(self, error: Exception) -> None:
        """Have it prepared anew if that has not been done yet and may help; else give up."""
        kind = '' if isinstance(error, OffloadError) else f'{type(error).__name__}: '
        if self._loaded is not None:
            self._end()
            self._node.get_logger().error(f'the provisional profile stays: {kind}{error}')
            return
        why = f'cannot use the prepared network: {kind}{error}'
        if self._anew or isinstance(error, ConfigurationError):
            self._end()
            why += '; set its parameters right, then cleanup and configure, or restart'
            self._broken = why
        else:
            self._anew = True
            why += '; first it is exported and measured anew here, once'
            self._watch.prepare_anew(why)
        self._on_failed(why)

    def _end(self) -> None:
        self._timer.cancel()
        self._watch.stop()
