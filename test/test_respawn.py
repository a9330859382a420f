"""What a launch file starts again and again, it does not start in a tight loop."""

from __future__ import annotations

import ast
from pathlib import Path

LAUNCH = Path(__file__).resolve().parents[1] / 'launch'
LEAST_DELAY_S = 2.0


def settings_of(tree: ast.AST) -> list[dict[str, object]]:
    """Constant entries of every dictionary and every call's keyword arguments."""
    found: list[dict[str, object]] = []
    for part in ast.walk(tree):
        pairs: list[tuple[object, ast.expr]] = []
        if isinstance(part, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in part.keywords]
        elif isinstance(part, ast.Dict):
            pairs = [
                (key.value, value) for key, value in zip(part.keys, part.values, strict=True)
                if isinstance(key, ast.Constant)
            ]
        found.append({
            str(name): value.value for name, value in pairs if isinstance(value, ast.Constant)
        })
    return found


def test_every_respawn_waits() -> None:
    """A bad start-up value ends a node at once with status 2; see ``nodes/process.py``."""
    respawning = [
        settings for path in sorted(LAUNCH.glob('*.launch.py'))
        for settings in settings_of(ast.parse(path.read_text(encoding='utf-8')))
        if settings.get('respawn')
    ]
    assert len(respawning) >= 2, 'robot and server'
    text = ' '.join(path.read_text(encoding='utf-8') for path in LAUNCH.glob('*.launch.py'))
    assert text.count('launch_parts.tell_cause') == len(respawning), 'why it died is said'
    for settings in respawning:
        delay_s = settings.get('respawn_delay')
        assert isinstance(delay_s, float) and delay_s >= LEAST_DELAY_S
