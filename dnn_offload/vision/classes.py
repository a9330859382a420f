"""Names of classes, with an answer for every number."""

from __future__ import annotations

from collections.abc import Sequence


def class_name(class_names: Sequence[str], class_id: int) -> str:
    """Name of a class; ``class 17`` where the model brings none."""
    if 0 <= class_id < len(class_names) and class_names[class_id]:
        return class_names[class_id]
    return f'class {class_id}'
