"""For unit tests: no ROS, no network, no spinning threads, the same examples every time."""

from __future__ import annotations

from collections.abc import Iterator
import os

# Before torch or numpy are imported: idle OpenMP threads otherwise spin on the cores that other
# processes of a test need, and timings say nothing.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from hypothesis import HealthCheck, settings
import pytest

# A slow machine is no failing example; the same examples on every machine and in every run.
settings.register_profile(
    'dnn_offload',
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile('dnn_offload')


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch computes with one thread: bit equality holds for a number of threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
