"""Caches of emulated machines: the same exported network, but profiles of each speed apart.

A profile taken inside a quota already contains it (docs/profiles.md), so it is another machine's.
The export is the same for all and is made once, outside any quota.
"""

from __future__ import annotations

import os
from pathlib import Path
import time

from dnn_offload.cost.predict.joining import OWN_LAYERS_FILE
from dnn_offload.errors import ModelError
from dnn_offload.runtime.model_cache import cache_key, ModelRequest
from dnn_offload.runtime.preparation import Preparation

_POLL_S = 0.1
_FOLDER = 'testbed'
MEASURED = ('profile_', 'provisional_')  # of this machine itself: not shared


def exported(request: ModelRequest, cache: Path) -> Path:
    """Export a model into a cache if it is not there; returns its folder.

    Raises:
        ModelError: It cannot be exported.
    """
    preparation = Preparation(request, cache, profile=False, nice=0)
    preparation.start()
    try:
        while not preparation.poll().finished:
            time.sleep(_POLL_S)
    finally:
        preparation.stop()
    progress = preparation.poll()
    if progress.folder is None or progress.stage == 'failed':
        raise ModelError(f'cannot prepare {request.source}', hint=progress.message)
    return progress.folder


def cache_of(request: ModelRequest, cache: Path, role: str, speed: float) -> Path:
    """The cache of a machine of such a speed, with the exported model in it.

    Args:
        request: The model.
        cache: Cache of this machine itself.
        role: ``robot`` or ``server``.
        speed: Its share of a core; 0 = this machine itself, whose cache it has.
    """
    source = exported(request, cache)
    if speed == 0.0:
        return cache
    own = cache / _FOLDER / f'{role}_{speed:.3f}'
    folder = own / cache_key(request)
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if not path.is_file() or path.suffix == '.lock' or path.name.startswith(MEASURED):
            continue
        target = folder / path.name
        if not target.exists():
            os.link(path, target)  # weights are large, and nobody changes them
    return own


def forget_profiles(cache: Path) -> None:
    """Measure emulated machines anew, next time."""
    for pattern in ('*/*/profile_*.json', f'*/{OWN_LAYERS_FILE}'):
        for path in (cache / _FOLDER).glob(pattern):
            path.unlink()
