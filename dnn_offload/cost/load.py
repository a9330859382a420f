"""How loaded the robot is, from all sources at once, and which of them to believe.

The default (``auto``) takes the exact source where there is evidence and a what-if source
where nothing of ours runs:

1. ``schedstat`` while the watched inference threads use enough CPU;
2. else ``probe``, a short computation of our own: it sees niced load and cgroup quotas for
   what they are, and only the cores that inference may use;
3. else ``procs_running``.

Factors are slow-downs against the idle machine. Costs need them relative to the machine as
it was profiled: ``relative``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
import math
import os

from dnn_offload.cost import load_sources
from dnn_offload.cost.load_factors import (
    OwnLoadAverage,
    ProbeFactor,
    PsiFactor,
    RecentWork,
    RunnableFactor,
    SchedstatFactor,
    StepFilter,
)
from dnn_offload.cost.load_sources import ProbeRun, PROC

AUTO = 'auto'
LOAD_SOURCES = (
    'loadavg', 'loadavg_own_removed', 'schedstat', 'procs_running', 'probe', 'psi', AUTO,
)
# CPU time of the network's slices within a second that makes schedstat believable. What else is
# to do here when frames go to the server, resizing and encoding, is a millisecond or two per
# frame; the wait before such short bursts, over so little CPU time, reads like a load of 3 on a
# calm machine.
WAITED = 'schedstat'         # its ratio in a profile is what the profiler itself waited
SLOW_DOWNS = frozenset({'probe', 'procs_running'})  # read 1 on an idle machine, as that does
UNSEEN = 1.3                 # ratio of ratios: the source did not see what the profiler met
MIN_EVIDENCE_MS = 60.0
KEEP_EVIDENCE_MS = 45.0    # once believed, it is left only below this
PROBES_OF_A_STEP = 3


@dataclass(frozen=True)
class LoadReadings:
    """All factors at one moment; 1 = an idle machine, NaN = unknown.

    Attributes:
        schedstat_cpu_ms: CPU time that makes ``schedstat`` believable [ms].
        loadavg_1min: Load average as the kernel reports it [processes].
        factor, source: The default combination and where it came from.
    """

    loadavg: float = math.nan
    loadavg_own_removed: float = math.nan
    schedstat: float = math.nan
    procs_running: float = math.nan
    probe: float = math.nan
    psi: float = math.nan
    schedstat_cpu_ms: float = 0.0
    loadavg_1min: float = math.nan
    factor: float = math.nan
    source: str = ''

    def of(self, source: str) -> float:
        """The factor of one of ``LOAD_SOURCES``."""
        return self.factor if source == AUTO else float(getattr(self, source))


def combine(
    readings: LoadReadings, *, pinned: bool = False, last_source: str = ''
) -> tuple[float, str]:
    """The default factor and its source; (NaN, '') when nothing is known.

    Args:
        readings: All sources; ``factor`` and ``source`` are not looked at.
        pinned: Inference may use a part of the cores only. ``procs_running`` then counts
            processes that are not in its way, and is the last resort.
        last_source: What the last answer was; a source once believed is kept a little
            longer, so that the answer does not hop between two.
    """
    needed_ms = KEEP_EVIDENCE_MS if last_source == 'schedstat' else MIN_EVIDENCE_MS
    if math.isfinite(readings.schedstat) and readings.schedstat_cpu_ms >= needed_ms:
        return readings.schedstat, 'schedstat'
    order = ['probe', 'procs_running', 'loadavg_own_removed', 'schedstat']
    if pinned:
        order = ['probe', 'schedstat', 'loadavg_own_removed', 'procs_running']
    for source in order:
        factor = readings.of(source)
        if math.isfinite(factor):
            return factor, source
    return math.nan, ''


def relative(factor: float, source: str, load_ratios: Mapping[str, float]) -> float:
    """Slow-down against the machine as profiled.

    A profile taken under a quota or under load already contains it: what counts is how
    the *same* source reads now and read then. Where the profiler itself waited far longer than a
    source saw (it is niced, a probe is short), its times contain what it waited.

    Args:
        factor: Reading now; NaN counts as 1.
        source: Where it comes from.
        load_ratios: ``Profile.load_ratios``; a source that is not in it read 1.
    """
    if not math.isfinite(factor) or factor <= 0.0:
        return 1.0
    then = max(load_ratios.get(source, 1.0), 1.0)
    waited = load_ratios.get(WAITED, 1.0) if source in SLOW_DOWNS & load_ratios.keys() else 1.0
    return factor / (waited if waited > UNSEEN * then else then)


class LoadTracker:
    """Reads all sources of one machine; one per load monitor, not thread-safe.

    ``sample`` wants to be called at 20 to 50 Hz, ``probe`` once or twice per second,
    ``readings`` at the rate of publishing.

    Args:
        root: Where /proc is.
        probe_cpu_ms: CPU time of one probe [ms].
        probe_window_s: Probes are averaged over so long; several must fall into it [s].
        smooth: Whether ``readings`` are calmed by ``StepFilter``.
    """

    def __init__(
        self, root: str = PROC, *, probe_cpu_ms: float = 8.0, probe_window_s: float = 2.0,
        smooth: bool = True,
    ) -> None:
        self.root = root
        self.probe_cpu_ms = probe_cpu_ms
        self.machine_cores = os.cpu_count() or 1
        self._pid = 0
        self._tids: tuple[int, ...] = ()
        self._cores = load_sources.cores_of()
        self._nice: int | None = None
        self._schedstat = SchedstatFactor()
        self._slices = RecentWork()
        self._runnable = RunnableFactor()
        self._probe = ProbeFactor(probe_window_s, confirm=PROBES_OF_A_STEP)
        self._psi = PsiFactor()
        self._own_average = OwnLoadAverage()
        self._filters = (
            {name: StepFilter() for name in ('schedstat', 'procs_running', 'probe', 'psi')}
            if smooth
            else {}
        )
        self._source = ''

    @property
    def watched_pid(self) -> int:
        """The inference process; 0 = none."""
        return self._pid

    @property
    def cores(self) -> int:
        """Cores that inference may use."""
        return max(len(self._cores), 1)

    @property
    def pinned(self) -> bool:
        """Whether inference may use a part of the machine's cores only."""
        return 0 < len(self._cores) < self.machine_cores

    def watch(self, pid: int, tids: Collection[int] = ()) -> None:
        """Watch an inference process; ``tids`` = its compute threads, empty = all."""
        if (pid, tuple(tids)) != (self._pid, self._tids):
            self._pid, self._tids = pid, tuple(tids)
            self._schedstat.update(0.0, None)
            self._slices.clear()
            if 'schedstat' in self._filters:
                self._filters['schedstat'].reset()
        # Threads have nicenesses of their own: that of one which computes counts.
        self._nice = load_sources.niceness_of(next(iter(tids), pid)) if pid else None
        cores = load_sources.cores_of(pid)
        self._cores = cores or load_sources.cores_of()

    def ran(self, now_s: float, cpu_ms: float) -> None:
        """A slice of the network has run in the watched threads.

        From the first call on, only such slices are evidence for ``schedstat``; before, as with
        programs that do not tell, all CPU time of the threads is.
        """
        self._slices.add(now_s, cpu_ms)

    def sample(self, now_s: float) -> None:
        """Read what changes from moment to moment: cheap, some 0.1 ms."""
        own = 0
        if self._pid:
            own = load_sources.count_running(self._pid, self._tids, self.root)
        self._runnable.update(
            now_s,
            load_sources.read_procs_running(self.root),
            own,
            self.cores,
            self.machine_cores,
            self._nice or 0,
        )

    def probe(self, now_s: float) -> bool:
        """Spend ``probe_cpu_ms`` on the cores of the watched process, at its niceness.

        Returns:
            Whether it is sure by now that the load is another than before.
        """
        cores = self._cores if self.pinned else ()
        before_ns = self._own_cpu_ns()
        run = load_sources.run_probe(self.probe_cpu_ms, cores, self._nice)
        run = without_own(run, (self._own_cpu_ns() - before_ns) / 1e6, self.cores)
        stepped = self._probe.update(now_s, run)
        if stepped and 'probe' in self._filters:
            self._filters['probe'].reset()  # so many probes are all the confirmation it waits for
        return stepped

    def _own_cpu_ns(self) -> int:
        cpu_ns = load_sources.read_process_cpu_ns(self._pid) if self._pid else None
        return cpu_ns or 0

    @property
    def wants_probe_soon(self) -> bool:
        """Whether the last probe was off those before: a step in load, or a hiccup."""
        return self._probe.doubtful

    def readings(self, now_s: float) -> LoadReadings:
        """All factors now."""
        times = None
        if self._pid:
            times = load_sources.read_schedstat(self._pid, self._tids, self.root)
        self._schedstat.update(now_s, times)
        self._psi.update(now_s, load_sources.read_psi_us(self.root))
        own_average = self._own_average.update(now_s, times)
        average = load_sources.read_loadavg(self.root)
        evidence_ms = self._schedstat.evidence_ms(now_s)
        if self._slices.known:
            evidence_ms = min(evidence_ms, self._slices.cpu_ms(now_s))
        schedstat = self._schedstat.factor(now_s)
        if evidence_ms < KEEP_EVIDENCE_MS and 'schedstat' in self._filters:
            self._filters['schedstat'].reset()  # what was seen long ago is no start
        plain = LoadReadings(
            loadavg=per_core(average, self.cores),
            loadavg_own_removed=per_core(average - own_average, self.cores),
            schedstat=self._calm('schedstat', schedstat),
            procs_running=self._calm('procs_running', self._runnable.factor(now_s)),
            probe=self._calm('probe', self._probe.factor(now_s)),
            psi=self._calm('psi', self._psi.factor()),
            schedstat_cpu_ms=evidence_ms,
            loadavg_1min=average,
        )
        factor, self._source = combine(plain, pinned=self.pinned, last_source=self._source)
        return LoadReadings(**{**vars(plain), 'factor': factor, 'source': self._source})

    def _calm(self, source: str, value: float) -> float:
        calm = self._filters.get(source)
        if calm is None:
            return value
        if not math.isfinite(value):
            calm.reset()  # when it tells again, what it said long ago is no start
            return value
        return calm.update(value)


def without_own(run: ProbeRun, own_cpu_ms: float, cores: int) -> ProbeRun:
    """A probe less what it waited for the watched process, which is no load to itself.

    Of several cores the probe shared one: of the process's CPU time it met its part, and what
    made no difference, since another core was free, is no more than the probe waited.

    Args:
        run: The probe.
        own_cpu_ms: CPU time that the watched process used meanwhile [ms].
        cores: Cores that both may use.
    """
    met_ms = min(max(own_cpu_ms, 0.0) / max(cores, 1), max(run.wall_ms - run.cpu_ms, 0.0))
    return ProbeRun(run.wall_ms - met_ms, run.cpu_ms)


def per_core(load_average: float, cores: int) -> float:
    """Dey et al.'s factor: max(1, load average / cores); NaN stays NaN."""
    if not math.isfinite(load_average):
        return math.nan
    return max(1.0, load_average / max(cores, 1))
