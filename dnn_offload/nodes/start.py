"""What has to happen before anything heavy is imported: signals, and torch's threads and parts.

Without torch and without ROS: the executables call it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
import os
import signal
import sys
from types import ModuleType

# Shapes without data, for tracing: a third of the time of `import torch`. Here networks are
# run; tracing happens in a child process. It begins with one of TRACING, and then gets them.
UNUSED = 'torch._meta_registrations'
TRACING = (
    'torch.export._trace', 'torch._dynamo', 'torch._inductor', 'torch._decomp', 'torch._prims',
    'torch.utils._content_store',
)


class _Unfilled(ModuleType):
    """A module that is executed when it is first asked for something."""

    real: ModuleSpec

    def __getattr__(self, name: str) -> object:
        if name.startswith('__'):  # of the import itself
            raise AttributeError(name)
        self.fill()
        return getattr(self, name)

    def fill(self) -> None:
        """Execute it now."""
        loader = self.real.loader
        self.__class__ = ModuleType  # type: ignore[assignment]
        if loader is not None:
            loader.exec_module(self)


class _Later(MetaPathFinder, Loader):
    """Leaves one module unfilled until it is needed."""

    def __init__(self) -> None:
        self._module: _Unfilled | None = None

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See ``MetaPathFinder``."""
        if name in TRACING and self._module is not None:
            sys.meta_path.remove(self)
            if isinstance(self._module, _Unfilled):
                self._module.fill()
        if name != UNUSED or self._module is not None:
            return None
        real = PathFinder.find_spec(name, path, target)
        if real is None:
            return None
        self._module = _Unfilled(name)
        self._module.real = real
        return ModuleSpec(name, self, origin=real.origin)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See ``Loader``."""
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""


def end_quietly() -> None:
    """Until the node takes signals itself, end at the first with one line, as it would then."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _end(number: int, frame: object) -> None:
    # Nothing is there yet that would have to be taken down; an import may be in the middle.
    name = signal.Signals(number).name
    os.write(2, f'{sys.argv[0]}: {name} received while starting\n'.encode())
    os._exit(0)


def before_torch() -> None:
    """Let threads of OpenMP wait asleep, and torch leave out what no run of a network needs.

    A thread that spins at a barrier takes the core from the one that is waited for: with load
    beside it a network took 3 to 48 times as long. A policy that the user has set stays.

    Raises:
        SystemExit: There is no torch, with what to do; a user's first stumble needs no traceback.
    """
    if 'torch' not in sys.modules and find_spec('torch') is None:
        raise SystemExit(
            f'{sys.executable} has no torch; source tools/env.sh (after make setup) in this '
            'shell, or install torch for this Python (tools/requirements/torch.txt)'
        )
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    if 'torch' not in sys.modules:
        sys.meta_path.insert(0, _Later())
