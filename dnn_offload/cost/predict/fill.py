"""From a few measured layers to a whole profile: what makes a new robot useful in seconds.

    database = shipped_database()
    profile = fill_profile(profile, database, measured={3, 10, 11, 24})

Everything is milliseconds of wall time, as in the profile. Energy goes the same way only as
power times time (``cost/energy.py``): nothing here has measured joules, though ``predict_layers``
takes any positive quantity if the data base holds it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
import math

import numpy as np

from dnn_offload.cost.predict.combined import condition
from dnn_offload.cost.predict.database import Database, features_of, log_ms
from dnn_offload.cost.profile import CutProfile, LayerProfile, Profile
from dnn_offload.errors import ProfileError

# Of a normal distribution, in standard deviations: interquartile range, width that holds 90 %.
IQR = 1.349
WIDTH_90 = 3.29


@dataclass(frozen=True)
class LayerTimes:
    """Predicted layers, in order.

    Attributes:
        time_ms: Measured where it was measured, else the predicted median, (layers,).
        covariance_ms2: Of what is not known of them, (layers, layers).
    """

    time_ms: np.ndarray
    covariance_ms2: np.ndarray

    @property
    def sd_ms(self) -> np.ndarray:
        """Standard deviation of each layer, (layers,)."""
        return np.sqrt(np.diag(self.covariance_ms2))

    def head_sd_ms(self) -> np.ndarray:
        """Standard deviation of the sum of the first 0 .. N layers, (layers + 1,)."""
        sums = self.covariance_ms2.cumsum(axis=0).cumsum(axis=1)
        return np.sqrt(np.concatenate([[0.0], np.maximum(np.diag(sums), 0.0)]))

    def tail_sd_ms(self) -> np.ndarray:
        """Standard deviation of the sum of the layers from 0 .. N on, (layers + 1,)."""
        backwards = LayerTimes(self.time_ms[::-1], self.covariance_ms2[::-1, ::-1])
        return backwards.head_sd_ms()[::-1]


def predict_layers(
    layers: Sequence[LayerProfile],
    database: Database,
    measured: Collection[int],
    elsewhere: Sequence[Sequence[LayerProfile]] = (),
) -> LayerTimes:
    """Predict the layers of a network on a device of which some layers were measured.

    Args:
        layers: The network; ``kind``, ``features``, and ``time_ms`` where measured, count.
        database: What is known of other devices.
        measured: Indices of the layers whose ``time_ms`` was measured here; may be empty.
        elsewhere: Layers of other networks, one after the other, all measured on this device
            at other times.

    Raises:
        ProfileError: Nothing measured at all, an index that does not exist, or a measured time
            that is no positive number.
    """
    parts = [layers, *(others for others in elsewhere if others)]
    both = [layer for part in parts for layer in part]
    chosen = _check(layers, measured, both[len(layers):])
    counts = [len(part) for part in parts]
    columns = database.columns(
        [layer.kind for layer in both], features_of([layer.features for layer in both]), counts
    )
    at = np.array([*chosen, *range(len(layers), len(both))], dtype=int)
    told = condition(
        columns, at, log_ms([both[index].time_ms for index in at]),
        sessions=np.repeat(np.arange(len(parts)), counts),
    )
    count = len(layers)
    time_ms = np.exp(told.log_mean[:count])
    time_ms[chosen] = [layers[index].time_ms for index in chosen]
    # To first order an error of the logarithm is a relative error of the time.
    covariance = told.covariance[:count, :count] * np.outer(time_ms, time_ms)
    return LayerTimes(time_ms, covariance)


def _check(
    layers: Sequence[LayerProfile], measured: Collection[int], others: Sequence[LayerProfile]
) -> list[int]:
    chosen = sorted(set(measured))
    if not chosen and not others:
        raise ProfileError(
            'no layer was measured on this device',
            hint='measure some layers of this or of another network first',
        )
    if chosen and not (chosen[0] >= 0 and chosen[-1] < len(layers)):
        raise ProfileError(
            'there is no such layer', given=chosen, allowed=f'0..{len(layers) - 1}'
        )
    for layer in (*(layers[index] for index in chosen), *others):
        if not (math.isfinite(layer.time_ms) and layer.time_ms >= 0.0):
            raise ProfileError('a measured time is not a time', given=layer.time_ms)
    return chosen


def fill_profile(
    profile: Profile,
    database: Database,
    measured: Collection[int],
    elsewhere: Sequence[Sequence[LayerProfile]] = (),
) -> Profile:
    """Fill a profile of which only some layers were measured.

    Layers get times and spreads; cuts that were not measured as units get the sums of the
    layers before and after them, corrected by what measured units differ from their sums.
    The spread of a predicted layer is the interquartile range of what is not known, that of a
    predicted cut the width of the interval that holds its time in 90 % of cases.

    Args:
        profile: With ``layers``; the times of those not in ``measured`` are ignored, and so are
            the times of cuts whose ``measured`` is False.
        database: What is known of other devices.
        measured: Indices of the layers that were measured.
        elsewhere: Layers of other networks, one after the other, all measured on this device
            at other times.

    Raises:
        ProfileError: See ``predict_layers``; or the profile does not tell its layers, or a cut
            that is none of the graph of its layers.
    """
    times = predict_layers(profile.layers, database, measured, elsewhere)
    known = set(measured)
    layers = tuple(
        layer
        if index in known
        else replace(layer, time_ms=float(time_ms), spread_ms=IQR * float(sd_ms))
        for index, (layer, time_ms, sd_ms) in enumerate(
            zip(profile.layers, times.time_ms, times.sd_ms, strict=True)
        )
    )
    at = np.array(positions_of_cuts(profile))
    before = np.concatenate([[0.0], np.cumsum(times.time_ms)])
    head_ms, tail_ms = before[at], before[-1] - before[at]
    heads = head_ms * _unit_ratio(head_ms, [cut.head_ms for cut in profile.cuts], profile.cuts)
    tails = tail_ms * _unit_ratio(tail_ms, [cut.tail_ms for cut in profile.cuts], profile.cuts)
    head_sd, tail_sd = times.head_sd_ms()[at], times.tail_sd_ms()[at]
    cuts = tuple(
        cut
        if cut.measured
        else replace(
            cut,
            head_ms=float(heads[index]),
            tail_ms=float(tails[index]),
            head_spread_ms=WIDTH_90 * float(head_sd[index]),
            tail_spread_ms=WIDTH_90 * float(tail_sd[index]),
        )
        for index, cut in enumerate(profile.cuts)
    )
    return replace(profile, layers=layers, cuts=cuts)


def _unit_ratio(
    sums_ms: np.ndarray, times_ms: Sequence[float], cuts: Sequence[CutProfile]
) -> np.ndarray:
    """What units take over the sums of their layers, told by the nearest measured cuts."""
    told = [index for index, cut in enumerate(cuts) if cut.measured and sums_ms[index] > 0.0]
    if not told:
        return np.ones(len(cuts))
    order = sorted(told, key=lambda index: sums_ms[index])
    ratios = [times_ms[index] / sums_ms[index] for index in order]
    return np.interp(sums_ms, sums_ms[order], ratios)


def predict_profile(
    template: Profile,
    database: Database,
    times_ms: Mapping[int, float],
    elsewhere: Sequence[Sequence[LayerProfile]] = (),
) -> Profile:
    """The profile of a network on a new device, from another device's profile of it.

    The graph, the cuts and the sizes are the network's; every time is predicted from the few
    measured ones. Codecs and the decoding of outputs are taken to be slower or faster than on
    the other device as the whole network is.

    Args:
        template: Profile of the same network on any device, with ``layers``.
        database: What is known of other devices.
        times_ms: Layer index to what it took on the new device [ms].
        elsewhere: Layers of other networks, measured on the new device.

    Raises:
        ProfileError: As ``fill_profile``.
    """
    bare = replace(
        template,
        layers=tuple(
            replace(layer, time_ms=float(times_ms.get(index, layer.time_ms)), spread_ms=0.0)
            for index, layer in enumerate(template.layers)
        ),
        cuts=tuple(replace(cut, measured=False) for cut in template.cuts),
        variants=(),
    )
    filled = fill_profile(bare, database, times_ms.keys(), elsewhere)
    slower = filled.whole_ms / template.whole_ms if template.whole_ms > 0.0 else 1.0
    return replace(
        filled,
        finish_ms=template.finish_ms * slower,
        cuts=tuple(
            replace(
                cut,
                codecs={
                    name: replace(
                        cost,
                        encode_ms=cost.encode_ms * slower,
                        decode_ms=cost.decode_ms * slower,
                        behind_ms=cost.behind_ms * slower,
                    )
                    for name, cost in cut.codecs.items()
                },
            )
            for cut in filled.cuts
        ),
    )


def positions_of_cuts(profile: Profile) -> list[int]:
    """Number of layers before each cut.

    Raises:
        ProfileError: The profile does not tell its layers, or a cut's frontier crosses nowhere.
    """
    if not profile.layers:
        raise ProfileError(
            'the profile does not tell its layers', hint='measure it with this version'
        )
    end = len(profile.layers)
    made = dict.fromkeys(profile.inputs, 0)
    last_use = dict.fromkeys(profile.outputs, end + 1)
    for position, layer in enumerate(profile.layers, start=1):
        for name in layer.reads:
            last_use[name] = max(last_use.get(name, 0), position)
        for name, _ in layer.makes:
            made[name] = position
    crossing: list[set[str]] = [set() for _ in range(end + 1)]
    for name, start in made.items():
        for position in range(start, min(last_use.get(name, 0), end + 1)):
            crossing[position].add(name)
    positions = [0]
    for cut in profile.cuts[1:-1]:
        frontier = set(cut.frontier)
        # Where several positions have the same frontier, what lies between computes nothing.
        at = next((p for p in range(positions[-1], end) if crossing[p] == frontier), None)
        if at is None or not frontier:
            raise ProfileError(
                f'cut {cut.index} is none of the graph of the profile', given=cut.frontier
            )
        positions.append(at)
    return [*positions, end]
