"""From a node's parameters to the running preparation of its network, again until it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dnn_offload.errors import OffloadError
from dnn_offload.nodes.model_parameters import MODEL_PARAMETERS
from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.runtime.preparation import Preparation, Progress
from dnn_offload.runtime.profile_wishes import FIRST, NO, ProfileWishes
from dnn_offload.runtime.thread_count import thread_count

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 60.0

Setting = Callable[[str], Any]
Start = Callable[[Setting, str, bool], Preparation]


def start_preparation(setting: Setting, role: str, anew: bool = False) -> Preparation:
    """Start the child that exports and profiles the network; returns at once.

    Args:
        setting: Gives the value of a parameter of ``model_parameters.py``.
        role: ``edge`` or ``server``.
        anew: Take nothing from the cache.

    Raises:
        ConfigurationError: The parameters make no sense together.
    """
    request = ModelRequest(
        source=setting('model'), weights=setting('weights'), allow_code=setting('allow_code'),
        input_size=setting('input_size'), role=role, threads=setting('threads'),
        backend=setting('backend'),
    )
    preparation = Preparation(
        request, setting('cache_dir'), profile_budget_s=setting('profile_budget_s'),
        wishes=ProfileWishes(provisional=FIRST if setting('provisional_profile') else NO),
        anew=anew,
    )
    preparation.start()
    return preparation


class PreparationWatch:
    """The preparation of one network, tried again when it fails. Used by one thread.

    A robot that is switched on before its network is up cannot download weights; nobody will
    restart its node. So a failed attempt is repeated after 5 s, and then after twice the time
    of before, up to 60 s: what cannot ever work costs one short, low-priority child a minute.

    The first attempt starts with the object, and each has the settings of its moment until there
    is a network: what was set wrong is set right by setting it. From then on they stay.
    Make it in ``configure``, ask ``poll`` from a timer, ``stop`` it in ``cleanup``::

        progress = self._watch.poll(time.monotonic())
        if progress.stage == 'done':        # from now on in every poll
            self._load(progress.folder, progress.profile_path)
        elif progress.stage == 'failed':    # once for each failed attempt: log it
            self.get_logger().error(progress.message)

    Args:
        setting: Gives the value of a parameter of ``model_parameters.py``.
        role: ``edge`` or ``server``.
        start: Starts an attempt; for tests.

    Raises:
        ConfigurationError: The parameters make no sense together; trying again would not help.
    """

    def __init__(self, setting: Setting, role: str, *, start: Start = start_preparation) -> None:
        self._setting = setting
        self._values = self._values_now()
        self._role = role
        self._start = start
        self._anew = False
        self._preparation: Preparation | None = start(self.setting, role, False)
        self._retry_s = 0.0
        self._pause_s = FIRST_RETRY_S
        self._stopped = False
        self._there = False  # the network
        self._failure = ''

    def setting(self, name: str) -> Any:
        """Value of a parameter of ``model_parameters.py`` that the last attempt has."""
        return self._values[name]

    def _values_now(self) -> dict[str, Any]:
        values = {spec.name: self._setting(spec.name) for spec in MODEL_PARAMETERS}
        return {**values, 'threads': thread_count(values['threads'])}

    @property
    def failure(self) -> str:
        """Why the last attempt failed, for diagnostics; '' before any did and after success.

        It stays while the next attempt runs.
        """
        return self._failure

    def poll(self, now_s: float) -> Progress:
        """How far it is; never blocks.

        Args:
            now_s: A steady clock [s].

        Returns:
            Progress of the attempt that runs. ``failed`` once when an attempt fails, then
            ``waiting`` (message: why, and when it is tried again) until the next one starts.
        """
        if self._stopped:
            return Progress('stopped', 0.0, 'stopped')
        if self._preparation is None:
            values = self._values if self._there else self._values_now()
            if now_s < self._retry_s and values == self._values:
                left_s = self._retry_s - now_s
                return Progress('waiting', 0.0, f'{self._failure}; next try in {left_s:.0f} s')
            self._values = values
            try:
                self._preparation = self._start(self.setting, self._role, self._anew)
            except (OSError, OffloadError) as error:  # no memory, no process, no such folder
                why = f'cannot start the preparation: {error}'
                return self._failed(now_s, Progress('failed', 0.0, why))
        progress = self._preparation.poll()
        self._there = self._there or progress.folder is not None
        if progress.stage == 'failed':
            return self._failed(now_s, progress)
        if progress.stage == 'done':
            self._failure = ''
        return progress

    def prepare_anew(self, why: str) -> None:
        """Begin again at the next poll and take nothing from the cache.

        Args:
            why: What was wrong with what had been prepared, for diagnostics.
        """
        if self._preparation is not None:
            self._preparation.stop()
            self._preparation = None
        self._anew, self._failure, self._retry_s = True, why, 0.0

    def stop(self) -> None:
        """End the attempt that runs, if any; there will be no other."""
        self._stopped = True
        if self._preparation is not None:
            self._preparation.stop()
            self._preparation = None

    def _failed(self, now_s: float, progress: Progress) -> Progress:
        if self._preparation is not None and self._preparation.crashed:
            self._anew = True  # what it took from the cache may be damaged
        self._preparation = None
        self._failure = why = progress.message
        self._retry_s = now_s + self._pause_s
        sooner = '' if self._there else ', or as soon as a parameter of the network is set'
        message = f'{why}; next try in {self._pause_s:.0f} s{sooner}'
        self._pause_s = min(2.0 * self._pause_s, LONGEST_RETRY_S)
        return replace(progress, fraction=0.0, message=message)
