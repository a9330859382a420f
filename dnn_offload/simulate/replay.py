"""Strategies over traces: each replayed through the real planner, judged by the oracle. Pure.

The oracle knows the truth of every moment, takes the best plan of it and pays nothing for
switches. **Regret** is the mean latency of a strategy's plan over the oracle's, less one; the
latencies are the true ones of the plans in force, without the noise of single frames. What
becomes of the frames (late, rescued, passed over) is counted from the noisy ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
import math
from pathlib import Path
import re
import statistics

from dnn_offload.cost.profile import Profile
from dnn_offload.errors import ConfigurationError
from dnn_offload.planning.search import STRATEGIES
from dnn_offload.planning.session import PlannerSettings
from dnn_offload.simulate import generated, recording
from dnn_offload.simulate.closed_loop import run
from dnn_offload.simulate.happened import Trace
from dnn_offload.simulate.recording import Recording
from dnn_offload.simulate.world import Sensors

ORACLE = 'oracle'
TRACES = Path(__file__).resolve().parents[1] / 'data' / 'traces'
SETTLE_S = 5.0             # at the start nothing is known: not judged


@dataclass(frozen=True)
class Verdict:
    """How a strategy did on a trace.

    Attributes:
        strategy, trace: Their names.
        mean_ms, best_mean_ms: Mean true latency of its plans, and of the oracle's.
        regret: ``mean_ms / best_mean_ms - 1``.
        regret_p95: Of single moments, 19 of 20 are below.
        switches: Changes of plan after the first.
        returns: Changes back to a plan that had been left within this trace.
        frames: That entered.
        frame_mean_ms: Mean latency of the frames with a result, noise included.
        late, rescued, lost: Shares of the frames that entered: with a result after the
            deadline; finished by the robot for want of an answer; without a result.
        superseded: Share that was passed over for newer ones, since a stage was too slow.
    """

    strategy: str
    trace: str
    mean_ms: float
    best_mean_ms: float
    regret: float
    regret_p95: float
    switches: int
    returns: int = 0
    frames: int = 0
    frame_mean_ms: float = math.nan
    late: float = 0.0
    rescued: float = 0.0
    lost: float = 0.0
    superseded: float = 0.0


def find(name: str, *, seed: int = 0, seconds: float = generated.SECONDS) -> Recording:
    """A trace by name: a file, one that ships, or a made-up one; several joined by ``+``.

    ``navigation_load+shaped_link`` takes the columns that the first one recorded and the rest
    from the second. ``slam_bursts:7`` is made with seed 7.

    Args:
        name: See above.
        seed: Of made-up ones that name none.
        seconds: Length of made-up ones [s].

    Raises:
        ConfigurationError: No such trace, or a damaged one.
    """
    parts = [_find_one(part.strip(), seed, seconds) for part in name.split('+')]
    joined = parts[-1]
    for part in reversed(parts[:-1]):
        joined = part.over(joined)
    return joined


def shipped() -> list[str]:
    """Names of the recorded traces that ship."""
    return sorted(path.stem for path in TRACES.glob('*.csv'))


def _find_one(name: str, seed: int, seconds: float) -> Recording:
    made = re.fullmatch(r'(\w+?)(?::(\d+))?', name)
    if made and made[1] in generated.GENERATED:
        return generated.generate(made[1], int(made[2] or seed), seconds)
    if name in shipped():
        return recording.read(TRACES / f'{name}.csv')
    path = Path(name)
    if not path.is_file():
        raise ConfigurationError(
            'no such trace', given=name,
            allowed=f'a file, or one of {", ".join([*shipped(), *generated.GENERATED])}',
        )
    return recording.read(path)


def replay(
    trace: Recording,
    edge: Profile,
    server: Profile,
    strategy: str,
    *,
    settings: PlannerSettings | None = None,
    sensors: Sensors | None = None,
    frame_hz: float = 10.0,
    deadline_ms: float = 0.0,
    seed: int = 0,
) -> Trace:
    """Run a strategy through a trace.

    Args:
        trace: The truth over time.
        edge: Profile of the robot.
        server: Profile of the server, of the same model.
        strategy: One of ``search.STRATEGIES``.
        settings: The planner's; its strategy is replaced.
        sensors: How the truth is seen.
        frame_hz: Rate of the stream [Hz].
        deadline_ms: From entry to result; 0 = none.
        seed: Of all noise: the same seed gives the same result.

    Raises:
        ConfigurationError: No such strategy.
    """
    if strategy not in STRATEGIES:
        raise ConfigurationError(
            'unknown strategy', given=strategy, allowed=', '.join([*STRATEGIES, ORACLE])
        )
    return run(
        edge, server, trace.world_at, trace.duration_s,
        settings=replace(settings or PlannerSettings(), strategy=strategy), sensors=sensors,
        frame_hz=frame_hz, deadline_ms=deadline_ms, seed=seed, fates=True,
        loadavg_at=trace.loadavg_at, cores=trace.cores,
    )


def judge(strategy: str, name: str, happened: Trace, settle_s: float = SETTLE_S) -> Verdict:
    """The figures of one replay, the first ``settle_s`` left out where there is more."""
    after = happened.since(settle_s)
    mean_ms, best_ms = statistics.fmean(after.true_ms), statistics.fmean(after.best_ms)
    frames = happened.frames
    entered = frames.entered if frames is not None else 0
    shares = {}
    if frames is not None and entered:
        shares = {
            'late': frames.late / entered,
            'rescued': frames.rescued / entered,
            'lost': frames.lost / entered,
            'superseded': frames.superseded / entered,
        }
    return Verdict(
        strategy, name, mean_ms, best_ms, mean_ms / best_ms - 1.0, after.regret_quantile(0.95),
        max(len(happened.switches) - 1, 0), happened.returns_after(settle_s), entered,
        frames.mean_ms if frames is not None else math.nan, **shares,
    )


def oracle(name: str, happened: Trace, settle_s: float = SETTLE_S) -> Verdict:
    """The oracle's own figures, from any replay of the same trace."""
    best_ms = statistics.fmean(happened.since(settle_s).best_ms)
    return Verdict(ORACLE, name, best_ms, best_ms, 0.0, 0.0, happened.best_changes)


def compare(
    trace: Recording,
    edge: Profile,
    server: Profile,
    strategies: Iterable[str],
    *,
    settings: PlannerSettings | None = None,
    sensors: Sensors | None = None,
    frame_hz: float = 10.0,
    deadline_ms: float = 0.0,
    seed: int = 0,
) -> tuple[list[Verdict], dict[str, Trace]]:
    """Several strategies over one trace; arguments as for ``replay``.

    Returns:
        Verdicts, the oracle's last, and what happened, by strategy.
    """
    happened = {
        strategy: replay(
            trace, edge, server, strategy, settings=settings, sensors=sensors,
            frame_hz=frame_hz, deadline_ms=deadline_ms, seed=seed,
        )
        for strategy in strategies
    }
    verdicts = [judge(strategy, trace.name, told) for strategy, told in happened.items()]
    if happened:
        verdicts.append(oracle(trace.name, next(iter(happened.values()))))
    return verdicts, happened
