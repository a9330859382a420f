"""Starts a module of this package as a program, whatever lies in the working folder.

``python -m`` looks there first, and may find the sources of this package without its generated
messages, or a ``queue.py`` of the user's.
"""

from __future__ import annotations

import sys


def own_program(module: str, *arguments: str) -> list[str]:
    """Return a command that runs a module with this interpreter, from this very package.

    Args:
        module: E.g. ``dnn_offload.runtime.prepare``.
        *arguments: Its arguments.
    """
    return [sys.executable, __file__, module, *arguments]


def _run() -> None:
    """Become the module named by the first argument."""
    # Before anything else is imported: the folder of this file is no place for modules.
    if not getattr(sys.flags, 'safe_path', False):  # since Python 3.11: PYTHONSAFEPATH
        del sys.path[0]
    sys.path.insert(0, __file__.rpartition('/dnn_offload/')[0])
    import runpy
    import signal

    # A Ctrl-C in a terminal reaches all of its processes: this one's parent has the word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    _run()
