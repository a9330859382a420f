"""Names of classes, with an answer for every number, and numbers of the classes one wants."""

from __future__ import annotations

from collections.abc import Sequence
import difflib

from dnn_offload.errors import ConfigurationError

# What networks call that which is none of their classes.
_NOTHING = frozenset(
    ('__background__', 'background', 'void', 'unlabeled', 'unlabelled', 'N/A', '')
)


def class_name(class_names: Sequence[str], class_id: int) -> str:
    """Name of a class; ``class 17`` where the model brings none."""
    if 0 <= class_id < len(class_names) and class_names[class_id]:
        return class_names[class_id]
    return f'class {class_id}'


def is_background(class_names: Sequence[str], class_id: int) -> bool:
    """Whether a class stands for nothing in particular; class 0 where the model has no names."""
    if not class_names:
        return class_id == 0
    return class_id < len(class_names) and class_names[class_id] in _NOTHING


def wanted_ids(class_names: Sequence[str], wanted: Sequence[str]) -> frozenset[int] | None:
    """Indices of the classes that are wanted by name; None = all of them.

    Args:
        class_names: Of the network, by index.
        wanted: Names as the network has them; ``class 17`` where it has none. Empty = all.

    Raises:
        ConfigurationError: The network has no such class.
    """
    if not wanted:
        return None
    taken = known_names(class_names, wanted)
    unknown = [name for name in wanted if name not in taken]
    if unknown:
        known = [name for name in class_names if name not in _NOTHING]
        near = [m for name in unknown for m in difflib.get_close_matches(name, known, 1)]
        raise ConfigurationError(
            'the network has no such class',
            given=', '.join(unknown),
            allowed=', '.join(known) or 'class 0, class 1, ...: it brings no names',
            hint=f'did you mean {", ".join(near)}?' if near else '',
        )
    return frozenset(i for name in wanted for i in _ids(class_names, name))


def known_names(class_names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Those of the wanted names that ``wanted_ids`` takes, in their order; none may be left."""
    return [name for name in wanted if _ids(class_names, name)]


def _ids(class_names: Sequence[str], name: str) -> list[int]:
    """Indices of a name: several where a network uses it twice."""
    if not class_names:
        word, _, number = name.partition(' ')
        return [int(number)] if word == 'class' and number.isdecimal() else []
    return [i for i, known in enumerate(class_names) if known == name and known not in _NOTHING]
