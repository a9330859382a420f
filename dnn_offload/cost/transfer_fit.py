"""Robust, forgetting fit of one direction of a link: ``ms = alpha + slope * (bytes - burst)``.

Iteratively re-weighted least squares over recent samples:

- weights halve with age, Huber weights keep single outliers from counting;
- ``alpha`` is held near its prior as far as the payload sizes do not tell it from the rate
  (payloads all alike: alpha stays, the rate moves; payloads that are nearly all alpha: the
  rate stays);
- small samples far below the line count little: they fit into the burst of a radio or a
  queue and pass at wire speed. They have a memory of their own, so that many of them never
  crowd out the few large ones that know the rate;
- frames that are far faster than probes (which are measured behind the burst) say how many of
  their bytes pass in the burst each time: right for a frame, that is not yet a faster link;
- a run of samples that are all off the same way means that the link has changed: everything
  older is forgotten.
"""

from __future__ import annotations

from collections import deque
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_BPS = 1e4      # 10 kbit/s
MAX_BPS = 1e11     # 100 Gbit/s
MAX_ALPHA_MS = 10e3

BURST_BYTES = 32768        # payloads below this may fit into a burst (radio, queue, tbf)
MAX_SAMPLES = 64           # kept of either size class
MAX_PROBES = 8
MAX_BURST_BYTES = 131072   # believed to pass at once
MIN_BURST_SHARE = 0.25     # of a frame: less is a disagreement of probes and frames
HALF_LIFE_S = 8.0          # of a sample's weight, counted from the newest of its size class
HALF_LIFE_SAMPLES = 24     # where samples are rare, the weight halves over so many instead
CLASS_HALF_LIFE_S = 30.0   # of a size class's weight that gets no samples any more
FRESH_S = 10.0             # without samples for this long, the estimate starts to fade
FADE_S = 20.0              # half-life of its return to the prior then
NOISE_RATIO = 0.1          # expected scatter of a transfer, as a share
NOISE_MS = 0.2             # and as a constant
HUBER = 1.0                # residuals beyond so many scatters count linearly only
SMALL_SHARE = 0.5          # of the largest payload; below it a fast sample may be a burst
BURST_RESIDUAL = 2.5       # scatters below the line that look like a burst
BURST_WEIGHT = 0.3
LIVE_WEIGHT = 0.02         # of the heaviest sample; lighter ones do not count as largest
PROBE_WEIGHT = 0.5         # probes count less than the frames that we really want to predict
# A change of the link: samples in a row, over at least so long [s], all off by this ratio.
# Three stragglers in quick succession are common on Wi-Fi, hence four unless they are spread, the
# less of that the further they are off.
CHANGES = ((3, 0.25, 2.5), (3, 0.5, 2.0), (4, 0.0, 2.0), (5, 0.0, 1.35))
FIT_EVERY = 4              # samples at the latest; sooner when the estimate is asked for
CONVERGED = 1e-3           # relative change of the slope that ends the iteration


Floats = NDArray[np.float64]
_Sample = tuple[float, float, float, float, bool]


class Line(NamedTuple):
    """``ms = alpha_ms + ms_per_byte * max(nbytes - burst_bytes, 0)``."""

    alpha_ms: float
    ms_per_byte: float
    burst_bytes: float = 0.0

    @property
    def bps(self) -> float:
        """Rate [bit/s]."""
        return 8e3 / self.ms_per_byte

    def ms(self, nbytes: float) -> float:
        """Predicted duration [ms]."""
        return self.alpha_ms + self.ms_per_byte * max(nbytes - self.burst_bytes, 0.0)


def line(alpha_ms: float, bps: float) -> Line:
    """A line from its fixed cost and rate, held within physical bounds."""
    return _bounded(alpha_ms, 8e3 / min(max(bps, MIN_BPS), MAX_BPS))


class TransferFit:
    """One direction; fed with samples, asked for the line that fits them.

    Args:
        prior: Believed before any sample, and again long after the last one.
    """

    def __init__(self, prior: Line) -> None:
        self.prior = prior
        self._line = prior
        # Two size classes, so that many small frames never crowd out the few samples that
        # know the rate, and probes, which know it without the burst. Each sample: time [s],
        # bytes, duration [ms], weight, whether it is a probe.
        self._small: deque[_Sample] = deque(maxlen=MAX_SAMPLES)
        self._large: deque[_Sample] = deque(maxlen=MAX_SAMPLES)
        self._probes: deque[_Sample] = deque(maxlen=MAX_PROBES)
        self._classes = (self._small, self._large, self._probes)
        self._recent: deque[tuple[float, _Sample]] = deque(maxlen=CHANGES[-1][0])
        self._newest_s = -math.inf
        self._evidence = 0.0
        self._unfitted = 0
        self._largest = 0.0

    def add(self, nbytes: int, duration_ms: float, now_s: float, *, probe: bool = False) -> float:
        """Take one transfer; times before the newest sample are taken as now.

        Returns:
            1, or where the link is now seen to be another: by what factor, at least, transfers
            take longer than before, below 1 where they are faster.
        """
        now_s = max(now_s, self._newest_s)
        sample = (now_s, float(nbytes), duration_ms, PROBE_WEIGHT if probe else 1.0, probe)
        change = 1.0
        if any(self._classes):
            if self._unfitted >= FIT_EVERY:
                self._fit()
            change = self._watch_for_change(sample)
        self._newest_s = now_s
        self._keep(sample)
        self._unfitted += 1
        return change

    def _keep(self, sample: _Sample) -> None:
        _, nbytes, _, _, probe = sample
        kind = self._small if nbytes < BURST_BYTES else self._large
        (self._probes if probe else kind).append(sample)

    def line(self, now_s: float, *, least_fresh: float = 0.0) -> Line:
        """The estimate now; fades to the prior when no sample has come for long.

        Args:
            now_s: The time.
            least_fresh: How fresh it is taken to be at least, 0 .. 1; nothing without a sample.
        """
        here, prior = self.fitted, self.prior
        fresh = max(self.freshness(now_s), least_fresh)
        if fresh >= 1.0:
            return here
        slope = here.ms_per_byte**fresh * prior.ms_per_byte ** (1.0 - fresh)
        alpha_ms = fresh * here.alpha_ms + (1.0 - fresh) * prior.alpha_ms
        return _bounded(alpha_ms, slope, fresh * here.burst_bytes)

    @property
    def fitted(self) -> Line:
        """What the samples say, however old they are; the prior before the first."""
        self._refresh()
        return self._line

    def confidence(self, now_s: float) -> float:
        """0 = assumed .. 1 = many agreeing samples, lately."""
        self._refresh()
        return self._evidence * self.freshness(now_s)

    def idle_s(self, now_s: float) -> float:
        """Time since the newest sample [s]; infinite before the first."""
        return now_s - self._newest_s

    def freshness(self, now_s: float) -> float:
        """1 while samples come, fading to 0 afterwards."""
        if not any(self._classes):
            return 0.0
        idle_s = now_s - self._newest_s - FRESH_S
        return 1.0 if idle_s <= 0.0 else 0.5 ** (idle_s / FADE_S)

    def _refresh(self) -> None:
        if self._unfitted:
            self._fit()

    def _watch_for_change(self, sample: _Sample) -> float:
        """Forget what is older than a run of samples that all deviate the same way: ``add``."""
        _, nbytes, ms, _, probe = sample
        behind = nbytes + self._line.burst_bytes if probe else nbytes  # the burst is over
        ratio = (ms + NOISE_MS) / (self._line.ms(behind) + NOISE_MS)
        held = nbytes if probe else max(nbytes - self._line.burst_bytes, 0.0)
        if ratio < 1.0 and held < SMALL_SHARE * self._largest and not probe:
            ratio = 1.0  # a burst, or nearly all alpha: no sign of a faster link
        self._recent.append((ratio, sample))
        for run, span_s, factor in CHANGES:
            last = list(self._recent)[-run:]
            ratios = [r for r, _ in last]
            if len(last) < run or sample[0] - last[0][1][0] < span_s:
                continue
            slower = min(ratios) > factor
            if slower or max(ratios) < 1.0 / factor:
                for kind in self._classes:
                    kind.clear()
                self._recent.clear()
                for _, kept in last[:-1]:  # the newest is added by the caller
                    self._keep(kept)
                return min(ratios) if slower else max(ratios)
        return 1.0

    def _fit(self) -> None:
        """Iteratively re-weighted least squares with weak priors on both parameters."""
        self._unfitted = 0
        table = np.array([sample for kind in self._classes for sample in kind])  # (samples, 5)
        nbytes, ms, probe = table[:, 1], table[:, 2], table[:, 4] > 0.0
        weight = table[:, 3] * 0.5 ** self._half_lives()
        burst = self._burst_bytes(nbytes, ms, weight, probe)
        nbytes = np.where(probe, nbytes, np.maximum(nbytes - burst, 0.0))
        self._largest = float(nbytes[weight >= LIVE_WEIGHT * weight.max()].max())
        small = nbytes < SMALL_SHARE * self._largest
        alpha_0, slope_0 = self._first_guess(nbytes, ms, weight, small)
        # The last line is the better start for the iteration, unless it was far off.
        near = 0.8 < self._line.ms_per_byte / slope_0 < 1.25
        alpha, slope = self._line[:2] if near else (alpha_0, slope_0)
        # Precision of the priors: alpha within its own size, the slope within its own size.
        alpha_p = 1.0 / (alpha_0 + 0.5) ** 2
        slope_p = 1.0 / slope_0**2
        for _ in range(8):
            before = slope
            expected = alpha + slope * nbytes
            scatter = NOISE_RATIO * expected + NOISE_MS
            residual = (ms - expected) / scatter
            size = np.maximum(np.abs(residual), HUBER)
            used = weight * HUBER / size
            used = np.where(small & (residual < -BURST_RESIDUAL), BURST_WEIGHT * used, used)
            w = used / scatter**2
            s_w, s_n = w.sum() + alpha_p, (w * nbytes).sum()
            s_nn = (w * nbytes * nbytes).sum() + slope_p
            s_y = (w * ms).sum() + alpha_p * alpha_0
            s_ny = (w * nbytes * ms).sum() + slope_p * slope_0
            determinant = s_w * s_nn - s_n * s_n
            alpha = (s_y * s_nn - s_ny * s_n) / determinant
            if alpha < 0.0:
                alpha = 0.0
            alpha, slope, _ = _bounded(alpha, (s_ny - alpha * s_n) / s_nn)
            if abs(slope - before) < CONVERGED * before:
                break
        self._line = Line(float(alpha), float(slope), burst)
        expected = alpha + slope * nbytes
        share = np.abs(ms - expected) / np.maximum(expected, NOISE_MS)
        error = float(np.average(share, weights=used + 1e-12))
        count = float(used.sum())
        self._evidence = count / (count + 2.0) / (1.0 + (error / 0.5) ** 2)

    def _half_lives(self) -> Floats:
        """Age of each sample in half-lives of its weight, (samples,)."""
        parts = []
        for samples in self._classes:
            if samples:
                newest_s = samples[-1][0]
                age_s = newest_s - np.array([sample[0] for sample in samples])
                rank = np.arange(len(samples) - 1, -1, -1)
                halved = np.minimum(age_s / HALF_LIFE_S, rank / HALF_LIFE_SAMPLES)
                parts.append(halved + (self._newest_s - newest_s) / CLASS_HALF_LIFE_S)
        return np.concatenate(parts)

    def _burst_bytes(
        self, nbytes: Floats, ms: Floats, weight: Floats, probe: NDArray[np.bool_]
    ) -> float:
        """Bytes of a frame that pass in the burst, by the rate that probes saw behind it."""
        alive = weight >= LIVE_WEIGHT * weight.max()
        probe, frame = probe & alive, ~probe & alive
        if probe.sum() < 2 or frame.sum() < 3:
            return 0.0
        # The prior's fixed cost: frames of one size cannot tell it from the burst.
        beyond_ms = np.maximum(ms - self.prior.alpha_ms, 0.05 * ms)
        ms_per_byte = _median((beyond_ms / nbytes)[probe], weight[probe])
        missing = np.maximum(nbytes - beyond_ms / ms_per_byte, 0.0)[frame]
        burst = _median(missing, weight[frame])
        if burst < MIN_BURST_SHARE * _median(nbytes[frame], weight[frame]):
            return 0.0
        return min(burst, MAX_BURST_BYTES)

    def _first_guess(
        self, nbytes: Floats, ms: Floats, weight: Floats, small: NDArray[np.bool_]
    ) -> tuple[float, float]:
        """Weighted median rate of the large samples, after the fixed cost."""
        alpha = self.prior.alpha_ms
        if _median(ms[~small], weight[~small]) <= 2.0 * alpha:
            # Nearly all fixed cost: such samples cannot tell the rate; keep what is known.
            known = self._line.ms_per_byte
            fastest = _median(ms[~small] / nbytes[~small], weight[~small])
            return alpha, min(known, fastest)
        rest = np.maximum(ms - alpha, 0.5 * ms)
        return alpha, _median(rest[~small] / nbytes[~small], weight[~small])


def _bounded(alpha_ms: float, ms_per_byte: float, burst_bytes: float = 0.0) -> Line:
    return Line(
        min(max(alpha_ms, 0.0), MAX_ALPHA_MS),
        min(max(ms_per_byte, 8e3 / MAX_BPS), 8e3 / MIN_BPS),
        burst_bytes,
    )


def _median(values: Floats, weights: Floats) -> float:
    """Weighted median."""
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, 0.5 * cumulated[-1])])
