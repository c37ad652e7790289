"""What goes wrong in a run, and when: chosen by the seed, counted when it mattered."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.network import REPLICATED, Weather

if TYPE_CHECKING:
    from tests.simulation.processes import Process
    from tests.simulation.simulation import Simulation

FAULTS = (
    "kill",
    "kill of a client",
    "freeze past the lease",
    "short freeze",
    "kill at an end",
    "freeze at an end",
    "stop",
    "wrong clock",
    "worker of some functions",
    "Redis wiped",
    "Redis evicts",
    "Redis goes back",
    "Redis full",
    "Redis away",
    "SCRIPT FLUSH",
    "MongoDB away",
    "roll-back",
    "primary's clock",
    "lost MongoDB request",
    "lost MongoDB reply",
    "late MongoDB request",
    "lost Redis request",
    "lost Redis reply",
    "late Redis request",
)
"""Every kind of fault; a batch of seeds in which one never mattered proves nothing."""

SKEW = 0.25
"""Seconds; a lease of 3 s ends, for its owner, 0.6 s before it does for the server."""
SLOWLY_REPLICATED = (0.02, 0.08)
"""Seconds until a majority has a write, where the secondaries are slow."""
SLOW_SHARE = 0.4
"""Of the runs."""
STRIKE_SHARE = 0.7
"""Of the runs those in which a worker is struck at an end, if there is one in time."""
LATEST_STRIKE = 2.5
"""Virtual seconds after which the first does not begin to be waited for."""
STRIKES_UNTIL = 10.0
"""Virtual seconds until the last; what has children ends later than most."""
KILL_SHARE = 0.7
"""Of the strikes those that kill; others freeze."""
MATTERS_SHARE = 0.7
"""Of the strikes those at an end that somebody else waits for."""
STRIKES_APART = (0.1, 0.6)
"""Virtual seconds between two of them, at least."""
LOSES_REDIS = frozenset({"wipe", "evict", "go_back"})
"""Faults after which Redis lacks what it acknowledged."""


class Faults:
    """The faults of one run."""

    def __init__(self, simulation: Simulation, random: Random) -> None:
        self._simulation = simulation
        self._network = simulation.network
        self._world = simulation.world
        self._random = random
        self._hits = simulation.network.hits
        kinds: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "stop": self._stop,
            "wipe": self._wipe,
            "evict": self._evict,
            "go_back": self._go_back,
            "flush_scripts": self._flush_scripts,
            "full": self._full,
            "redis": self._redis_away,
            "mongo": self._mongo_away,
            "step_down": self._step_down,
        }
        if not simulation.is_strict:
            for kind in LOSES_REDIS:
                del kinds[kind]
        # Few kinds at a time: each is then seen alone and in every company.
        chosen = random.sample(sorted(kinds), random.randint(1, 5))
        self._kinds = [kinds[name] for name in chosen]
        self._snapshots = [self._network.redis.snapshot()]
        self._take_snapshots = "go_back" in chosen
        self._replicated = REPLICATED

    def begin(self) -> None:
        """Let things go wrong until the simulation calms down."""
        random = self._random
        if random.random() < 0.6:
            self._network.weather = Weather(
                lost_request=random.choice((0.0, 0.01, 0.03)),
                lost_reply=random.choice((0.0, 0.01, 0.03)),
                late_request=random.choice((0.0, 0.01, 0.03)),
                silent=random.random(),
            )
        if random.random() < SLOW_SHARE:
            self._network.replicated = self._replicated = SLOWLY_REPLICATED
        if random.random() < STRIKE_SHARE:
            moment = random.uniform(0.0, LATEST_STRIKE)
            self._world.after(moment, self._strike_at_an_end)
        self._world.after(random.uniform(0.2, 0.8), self._next)

    def _next(self) -> None:
        if self._simulation.is_calm:
            return
        if self._take_snapshots:
            self._snapshots = [*self._snapshots[-5:], self._network.redis.snapshot()]
        fault = self._random.choice(self._kinds)
        self._world.note("fault", fault.__name__)
        fault()
        self._world.after(self._random.uniform(0.1, 0.8), self._next)

    # -- processes

    def _kill(self) -> None:
        if self._random.random() < 0.1:
            return self._kill_client()
        process = self._some_worker()
        if process is not None:
            self._hits["kill"] += self._simulation.owns_something(process)
            process.kill()
            self._simulation.start_worker(after=self._random.uniform(0.0, 1.5))
        return None

    def _kill_client(self) -> None:
        clients = [each for each in self._simulation.senders if each.is_alive]
        if len(clients) > 1:
            self._hits["kill of a client"] += 1
            self._random.choice(clients).kill()

    def _freeze(self) -> None:
        process = self._some_worker()
        if process is None:
            return
        seconds = self._random.choice((0.3, 1.5, 5.0, 7.0, 7.0))
        if self._simulation.owns_something(process):
            is_long = seconds > self._simulation.options.lease_ttl
            self._hits["freeze past the lease" if is_long else "short freeze"] += 1
        process.freeze(seconds)

    def _strike_at_an_end(self) -> None:
        """Let a worker die or freeze that ends an execution, or follows that up.

        It is the next one that writes so: what comes after that it does late, or not.
        """
        kills = self._random.random() < KILL_SHARE
        # A longer one has its calls time out, as other freezes do.
        seconds = self._random.choice((0.3, 0.8, 1.2))
        later = self._random.choice((0.0, 0.0, 0.0, 0.005, 0.05))
        moment = self._random.choice(("ended", "followed up"))
        has_to_matter = self._random.random() < MATTERS_SHARE

        def strike(what: str, *, matters: bool) -> bool:
            process = self._network.writer
            is_worker = process in self._simulation.workers
            if process is None or not is_worker or what != moment:
                return False
            if has_to_matter and not matters:
                return False
            if process.is_running and self._world.now < STRIKES_UNTIL:
                self._hits["kill at an end" if kills else "freeze at an end"] += 1
                self._world.after(later, lambda: end(process))
            return True

        def end(process: Process) -> None:
            pause = self._random.uniform(*STRIKES_APART)
            self._world.after(pause, self._strike_at_an_end)
            if not kills:
                return process.freeze(seconds)
            process.kill()
            self._simulation.start_worker(after=self._random.uniform(0.0, 1.5))
            return None

        self._simulation.oracle.children.strike = strike

    def _stop(self) -> None:
        process = self._some_worker()
        if process is not None:
            self._hits["stop"] += self._simulation.owns_something(process)
            self._simulation.stop_worker(process, self._random.choice((0.0, 1.0, 4.0)))
            self._simulation.start_worker(after=self._random.uniform(0.0, 1.5))

    def _some_worker(self) -> Process | None:
        workers = [each for each in self._simulation.workers if each.is_running]
        return self._random.choice(workers) if workers else None

    # -- Redis

    def _wipe(self) -> None:
        redis = self._network.redis
        self._hits["Redis wiped"] += bool(redis.content.values)
        redis.content.values.clear()
        redis.content.expires.clear()
        if self._random.random() < 0.5:
            redis.forget_scripts()
            self._network.break_redis_connections()

    def _evict(self) -> None:
        redis = self._network.redis
        for key in list(redis.content.values):
            if self._random.random() < 0.3:
                self._hits["Redis evicts"] += 1
                redis.content.values.pop(key)
                redis.content.expires.pop(key, None)

    def _go_back(self) -> None:
        redis = self._network.redis
        old = self._random.choice(self._snapshots)
        self._hits["Redis goes back"] += old != redis.content
        redis.restore(old)
        redis.forget_scripts()
        self._network.break_redis_connections()

    def _flush_scripts(self) -> None:
        self._hits["SCRIPT FLUSH"] += 1
        self._network.redis.forget_scripts()

    def _full(self) -> None:
        redis = self._network.redis
        redis.is_full = True
        self._world.after(
            self._random.uniform(0.2, 2.0), lambda: setattr(redis, "is_full", False)
        )

    def _redis_away(self) -> None:
        self._network.stop_redis(self._random.choice((0.2, 0.8, 2.5)))

    # -- MongoDB

    def _mongo_away(self) -> None:
        self._network.stop_mongo(self._random.choice((0.2, 0.8, 3.5)))

    def _step_down(self) -> None:
        """The secondaries fall behind, then one of them is the primary."""
        network, random = self._network, self._random
        lag = random.uniform(0.01, 0.3)
        network.replicated = (lag, lag * 2)

        def step_down() -> None:
            network.mongo_skew = random.uniform(-SKEW, SKEW)
            self._hits["primary's clock"] += 1
            network.stop_mongo(random.uniform(0.0, 0.5))
            network.replicated = self._replicated

        self._world.after(lag, step_down)
