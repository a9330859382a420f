"""What a robot knows of the edge servers, and which of them can be planned with. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
import math

from dnn_offload.cost.link import LinkDefaults, LinkEstimator, LinkEvidence, LOST
from dnn_offload.cost.profile import Profile
from dnn_offload.exchange import SERVER_STATES
from dnn_offload.planning.plan import ServerState

MAX_SERVERS = 64           # names come from the network: bounded
FORGET_SERVER_S = 600.0
GONE_S = 10.0              # silent so long, a server makes room for another where all is full

# ServerStatus.msg STATE_*
PREPARING, READY, STOPPING, FAILED = range(len(SERVER_STATES))


@dataclass(frozen=True)
class ServerReport:
    """A ``ServerStatus`` message, as far as planning needs it."""

    server: str
    session: int
    state: int
    model_identity: str = ''
    load_factor: float = 1.0
    queue_ms: float = 0.0
    detail: str = ''


@dataclass(frozen=True)
class Survey:
    """The servers at one moment.

    Attributes:
        usable: Those that can be planned with.
        unusable: The others, with the reason for people.
        lost: Those among the unusable that had been ready before.
    """

    usable: tuple[ServerState, ...] = ()
    unusable: dict[str, str] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LinkNews:
    """What a measured transfer, or a loss, has told.

    Attributes:
        dead: Nothing gets through any more.
        stepped: The link is seen to be another than before.
    """

    dead: bool = False
    stepped: bool = False


@dataclass
class _Server:
    """What is known of one server."""

    estimator: LinkEstimator
    report: ServerReport | None = None
    heard_s: float = -math.inf
    was_ready: bool = False
    restarted: bool = False
    profile: Profile | None = None


class ServerBook:
    """Statuses, profiles and links by server; clocks are passed in, not thread-safe."""

    def __init__(self, link_defaults: LinkDefaults) -> None:
        self._link_defaults = link_defaults
        self._servers: dict[str, _Server] = {}

    def knows(self, name: str) -> bool:
        """Whether anything is remembered of a server."""
        return name in self._servers

    @property
    def names(self) -> Collection[str]:
        """Servers of which anything is remembered."""
        return self._servers.keys()

    def set_link_defaults(self, defaults: LinkDefaults) -> None:
        """Start all estimates from other assumptions."""
        if defaults != self._link_defaults:
            self._link_defaults = defaults
            for server in self._servers.values():
                server.estimator = self._make_estimator()

    def add_profile(self, name: str, profile: Profile) -> None:
        """A server's profile."""
        server = self._server(name)
        if server is not None:
            server.profile = profile

    def add_report(self, report: ServerReport, now_s: float) -> bool:
        """A server's status; True if it cannot be used (any more)."""
        if report.server not in self._servers and len(self._servers) >= MAX_SERVERS:
            self._make_room(now_s)
        server = self._server(report.server)
        if server is None:
            return True
        old = server.report
        if old is not None and old.session != report.session:
            server.restarted = server.was_ready
            if server.estimator.dead(now_s):
                # The silence was the process, not the link; the new one is to be used.
                server.estimator = self._make_estimator()
        server.report = report
        server.heard_s = now_s
        if report.state == READY:
            server.was_ready = True
        return report.state != READY or server.restarted

    def add_transfer(self, name: str, evidence: LinkEvidence, now_s: float) -> LinkNews:
        """A measured transfer, or a loss."""
        server = self._server(name)
        if server is None:
            return LinkNews()
        stepped = server.estimator.add(evidence, now_s)
        return LinkNews(evidence.kind == LOST and server.estimator.dead(now_s), stepped)

    def give_up(self, name: str, now_s: float) -> None:
        """Leave a server alone for a while, twice as long each time."""
        server = self._servers.get(name)
        if server is not None:
            server.estimator.lost(now_s)

    def survey(
        self,
        profile: Profile,
        allowed: Collection[str],
        max_uplink_bps: float,
        timeout_s: float,
        now_s: float,
    ) -> Survey:
        """Which servers can be planned with now; a restart counts as a loss once.

        Args:
            profile: The robot's.
            allowed: Names of servers that may be used; empty = all.
            max_uplink_bps: Limit on the uplink in force; 0 = none.
            timeout_s: Silence after which a server is lost.
            now_s: Monotonic clock [s].
        """
        self._forget(now_s)
        usable: list[ServerState] = []
        unusable: dict[str, str] = {}
        lost: set[str] = set()
        for name, server in self._servers.items():
            link = server.estimator.state(now_s, max_uplink_bps)
            gone = _gone(server, timeout_s, now_s)
            if not gone and not link.alive:
                gone = 'nothing gets through'
            server.restarted = False
            if gone:
                unusable[name] = gone
                if server.was_ready:
                    lost.add(name)
                continue
            why_not = _unfit(server, profile, allowed)
            if why_not:
                unusable[name] = why_not
                continue
            assert server.report is not None and server.profile is not None
            usable.append(
                ServerState(
                    name, server.profile, link, server.report.load_factor, server.report.queue_ms
                )
            )
        return Survey(tuple(usable), unusable, frozenset(lost))

    def _make_estimator(self) -> LinkEstimator:
        # One LOST is enough: the uplink sends it when it has given the server up.
        return LinkEstimator(self._link_defaults, lost_after=1)

    def _server(self, name: str) -> _Server | None:
        """The record of a server; None when there are too many."""
        if not name:
            return None
        if name not in self._servers:
            if len(self._servers) >= MAX_SERVERS:
                return None
            self._servers[name] = _Server(self._make_estimator())
        return self._servers[name]

    def _make_room(self, now_s: float) -> None:
        """Forget the server that is gone longest, rather one of which there is no profile."""
        gone = [
            (server.profile is not None, server.heard_s, name)
            for name, server in self._servers.items() if now_s - server.heard_s > GONE_S
        ]
        if gone:
            del self._servers[min(gone)[-1]]

    def _forget(self, now_s: float) -> None:
        for name, server in list(self._servers.items()):
            if math.isfinite(server.heard_s) and now_s - server.heard_s > FORGET_SERVER_S:
                del self._servers[name]


def _gone(server: _Server, timeout_s: float, now_s: float) -> str:
    """Why nothing can be sent to it; '' if something can."""
    report = server.report
    if report is None:
        return 'no status yet'
    if now_s - server.heard_s > timeout_s:
        return f'silent for {now_s - server.heard_s:.1f} s'
    if server.restarted:
        return 'restarted'
    if report.state != READY:
        state = SERVER_STATES[report.state] if report.state < len(SERVER_STATES) else 'unknown'
        return f'{state}: {report.detail}' if report.detail else state
    return ''


def _unfit(server: _Server, profile: Profile, allowed: Collection[str]) -> str:
    """Why it is of no use to this robot; '' if it is."""
    report = server.report
    assert report is not None
    if allowed and report.server not in allowed:
        return 'not among the allowed servers'
    if report.model_identity != profile.model_identity:
        return (
            f'runs another model ({report.model_identity[:12] or "unknown"}, '
            f'the robot runs {profile.model_identity[:12]})'
        )
    if server.profile is None:
        return 'its profile has not arrived'
    if server.profile.model_identity != profile.model_identity:
        return 'its profile is of another model'
    return ''
