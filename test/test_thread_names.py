"""The threads in docs/architecture.md are those that the code starts."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ('cost', 'nodes', 'runtime', 'transport')  # what runs in the processes of nodes


def names_of_threads() -> set[str]:
    """The names that are written down where threads are made."""
    found = set()
    for room in ROOMS:
        for path in (ROOT / 'dnn_offload' / room).rglob('*.py'):
            for call in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
                if not isinstance(call, ast.Call):
                    continue
                made = ast.unparse(call.func)
                if made.rpartition('.')[2] not in ('Thread', 'ThreadPoolExecutor'):
                    continue
                for keyword in call.keywords:
                    named = keyword.arg in ('name', 'thread_name_prefix')
                    if named and isinstance(keyword.value, ast.Constant):
                        found.add(str(keyword.value.value))
    return found


def test_each_thread_is_in_the_architecture() -> None:
    page = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    section = page.partition('## Processes and threads')[2].partition('\n## ')[0]
    names = names_of_threads()
    assert {'worker', 'responder', 'tail', 'signals'} <= names
    assert not {name for name in names if name not in section}
