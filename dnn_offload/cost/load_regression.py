"""Load as a variable of the regression: the first option of Dey et al., profiled under made load.

Dey, Mondal and Mukherjee (PerCom Workshops 2019) name two ways to take the robot's load into
account: as a parameter of the regression models, profiled under simulated load, or as a factor
on what was profiled on the idle machine. They take the factor, and so does the planner, with
``planning/edge_load.py``. This is the other one. For each head (or tail) ``i``

    t_i(load) = a_i + b_i * max(load - 1, 0) + c_i * max(load - knee, 0)

by least squares on relative errors over profiles taken under several loads; ``load`` is what a
load source read meanwhile (1 = idle), so the regression also learns what the source gets wrong.
With ``knee`` None the last term is missing (affine). The plain factor is ``t_i(1) * load``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ProfileError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LoadRegression:
    """Times of several pieces over load.

    Attributes:
        coefficients: (pieces, 3): a, b, c of each piece [ms].
        knee: Load from which the third term counts; None = affine.
        most: Highest load that was profiled; beyond, the line goes on.
    """

    coefficients: Floats
    knee: float | None
    most: float

    def times_ms(self, load: float) -> Floats:
        """All pieces at a load, (pieces,) [ms]; never below those of the idle machine."""
        terms = _terms(np.array([load]), self.knee)[0]
        return np.asarray(np.maximum(self.coefficients @ terms, self.coefficients[:, 0]))


@dataclass(frozen=True)
class ProfileRegression:
    """A profile whose heads and tails are functions of load.

    Attributes:
        base: The profile at the lowest load.
        heads, tails: Regressions over the cuts.
    """

    base: Profile
    heads: LoadRegression
    tails: LoadRegression

    def at(self, load: float) -> Profile:
        """The profile as it would be measured under this load; plan with load factor 1."""
        heads, tails = self.heads.times_ms(load), self.tails.times_ms(load)
        cuts = tuple(
            replace(cut, head_ms=float(head), tail_ms=float(tail))
            for cut, head, tail in zip(self.base.cuts, heads, tails, strict=True)
        )
        return replace(self.base, cuts=cuts)


def fit_load(
    loads: Sequence[float], times_ms: Sequence[Sequence[float]], *, knee: float | None = None
) -> LoadRegression:
    """Fit all pieces.

    Args:
        loads: What the load source read in each run, (runs,).
        times_ms: Measured times, (runs, pieces).
        knee: See the module.

    Raises:
        ProfileError: Fewer different loads than terms, or values that are no measurements.
    """
    load = np.asarray(loads, dtype=np.float64)
    times = np.asarray(times_ms, dtype=np.float64)
    if times.ndim != 2 or load.shape != times.shape[:1] or not np.isfinite(times).all():
        raise ProfileError(
            'times under load do not fit the loads', given=f'{load.shape}, {times.shape}',
            allowed='(runs,) and (runs, pieces), finite',
        )
    terms = _terms(load, knee)  # (runs, 3)
    used = [0, 1] if knee is None else [0, 1, 2]
    if np.linalg.matrix_rank(terms[:, used]) < len(used):
        raise ProfileError(
            'too few different loads for the regression', given=sorted(set(load.tolist())),
            allowed=f'{len(used)} or more, on both sides of the knee',
            hint='profile again with more busy processes',
        )
    coefficients = np.zeros((times.shape[1], 3))
    for piece in range(times.shape[1]):
        # Pieces of no work (the head before the picture) have no relative error.
        weight = 1.0 / np.maximum(times[:, piece], 1e-3)
        found = np.linalg.lstsq(
            terms[:, used] * weight[:, None], times[:, piece] * weight, rcond=None
        )[0]
        coefficients[piece, used] = found
    return LoadRegression(coefficients, knee, float(load.max()))


def fit_profiles(
    profiles: Sequence[Profile], source: str, *, knee: float | None = None
) -> ProfileRegression:
    """Fit profiles of one model that were taken under several loads.

    Args:
        profiles: Their ``load_ratios`` say the load.
        source: Which load source counts; a profile that does not name it was idle.
        knee: See the module.

    Raises:
        ProfileError: Different models or cuts, or too few different loads.
    """
    if len({(p.model_identity, tuple(c.cut_id for c in p.cuts)) for p in profiles}) != 1:
        raise ProfileError(
            'profiles under load are not of one model', given=[p.model for p in profiles],
            allowed='the same model with the same cuts, at least twice',
        )
    loads = [max(profile.load_ratios.get(source, 1.0), 1.0) for profile in profiles]
    heads = fit_load(loads, [[c.head_ms for c in p.cuts] for p in profiles], knee=knee)
    tails = fit_load(loads, [[c.tail_ms for c in p.cuts] for p in profiles], knee=knee)
    base = profiles[int(np.argmin(loads))]
    return ProfileRegression(base, heads, tails)


def _terms(load: Floats, knee: float | None) -> Floats:
    """(runs, 3): 1, load above 1, load above the knee."""
    above = np.maximum(load - 1.0, 0.0)
    bend = np.zeros_like(load) if knee is None else np.maximum(load - knee, 0.0)
    return np.stack([np.ones_like(load), above, bend], axis=1)
