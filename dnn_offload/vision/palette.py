"""Colours of classes: Okabe and Ito's (https://jfly.uni-koeln.de/color/), then tints of them.

Colour-blind people can tell the seven apart.
"""

from __future__ import annotations

# Orange, sky blue, green, yellow, blue, vermilion, purple: Okabe-Ito without black.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_TINTS = ((0, 0.0), (255, 0.5), (0, 0.6))  # mixed with white or black, by this much


def colour_of(class_id: int) -> tuple[int, int, int]:
    """RGB of a class; beyond 21 classes colours repeat and the label tells."""
    ground, share = _TINTS[class_id // len(PALETTE) % len(_TINTS)]
    red, green, blue = (
        round(channel + (ground - channel) * share) for channel in PALETTE[class_id % len(PALETTE)]
    )
    return red, green, blue
