"""From a node's parameters to the running preparation of its network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dnn_offload.runtime.model_cache import ModelRequest
from dnn_offload.runtime.preparation import Preparation


def start_preparation(setting: Callable[[str], Any], role: str) -> Preparation:
    """Start the child that exports and profiles the network; returns at once.

    Args:
        setting: Gives the value of a parameter of ``model_parameters.py``.
        role: ``edge`` or ``server``.

    Raises:
        ConfigurationError: The parameters make no sense together.
    """
    request = ModelRequest(
        source=setting('model'), weights=setting('weights'), allow_code=setting('allow_code'),
        input_size=setting('input_size'), role=role, threads=setting('threads'),
    )
    preparation = Preparation(
        request, setting('cache_dir'), profile_budget_s=setting('profile_budget_s')
    )
    preparation.start()
    return preparation
