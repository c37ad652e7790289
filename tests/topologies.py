"""Several servers that are one store: a replica set, a cluster, a watched master.

All on 127.0.0.1, each member its own process. Methods block until they are true;
inside a coroutine call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from pymongo.errors import PyMongoError

from tests.servers import MongoServer, RedisServer, ServerFailedError

PATIENCE = 60.0
SLOTS = 16384
MASTER = "worchflow"
"""What the sentinels call the master."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Block until it is true; an error of a server that is not there yet is not."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (redis.RedisError, PyMongoError, OSError):
            pass
        if time.monotonic() > deadline:
            raise ServerFailedError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.05)


class Member(MongoServer):
    """One `mongod` of a replica set, which another one may lead."""

    def answers(self) -> bool:
        """Say whether this process answers; it need not be the primary."""
        try:
            with self.client() as client:
                return bool(client.admin.command("serverStatus")["pid"] == self.pid)
        except PyMongoError:
            return False


class Topology:
    """Servers that start and stop together."""

    def __init__(self) -> None:
        """Nothing runs before it is entered."""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start, or leave nothing behind."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop all of them."""
        self._stack.close()

    def _start(self) -> None:
        raise NotImplementedError


class ReplicaSet(Topology):
    """Three members of a MongoDB replica set with elections within seconds."""

    def __init__(self) -> None:
        """Find the binary; raises `ServerNotFoundError`."""
        super().__init__()
        self.members = [Member() for _ in range(3)]

    def database_url(self, database: str) -> str:
        """The URL of one database."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"mongodb://{hosts}/{database}?replicaSet={Member.replica_set_name}"

    def primary(self) -> Member:
        """The member that leads now."""
        found: list[Member] = []

        def one_leads() -> bool:
            found[:] = [m for m in self.members if m.running and self._leads(m)]
            return len(found) == 1

        wait_for(one_leads, "a primary")
        return found[0]

    def term(self) -> int:
        """The election term: it grows with every election."""
        with self.primary().client() as client:
            return int(client.admin.command("replSetGetStatus")["term"])

    def kill_primary(self) -> Member:
        """SIGKILL the leader; returns it once another one leads."""
        killed = self.primary()
        killed.kill()
        self.primary()
        return killed

    def step_down(self) -> None:
        """Ask the leader to let another one lead."""
        with self.primary().client() as client:
            try:
                client.admin.command("replSetStepDown", 5)
            except PyMongoError:
                return  # it closes the connection on which it was told

    def back_in_step(self) -> None:
        """Wait until every member that runs follows the leader."""

        def follows() -> bool:
            with self.primary().client() as client:
                status = client.admin.command("replSetGetStatus")
            states = [member["stateStr"] for member in status["members"]]
            return sorted(states) == ["PRIMARY", "SECONDARY", "SECONDARY"]

        wait_for(follows, "all members in step")

    def _leads(self, member: Member) -> bool:
        try:
            with member.client() as client:
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False

    def _start(self) -> None:
        for member in self.members:
            self._stack.enter_context(member)
        with self.members[0].client() as client:
            client.admin.command(
                "replSetInitiate",
                {
                    "_id": Member.replica_set_name,
                    "members": [
                        {"_id": number, "host": f"127.0.0.1:{member.port}"}
                        for number, member in enumerate(self.members)
                    ],
                    "settings": {
                        "electionTimeoutMillis": 1500,
                        "heartbeatIntervalMillis": 500,
                    },
                },
            )
        self.back_in_step()


class RedisClusterServers(Topology):
    """Three masters of a Redis Cluster with a replica each."""

    def __init__(self) -> None:
        """Find the binary; raises `ServerNotFoundError`."""
        super().__init__()
        options = (
            *("--cluster-enabled", "yes"),
            *("--cluster-node-timeout", "1000"),
            *("--cluster-replica-validity-factor", "0"),
        )
        self.nodes = [RedisServer(args=options) for _ in range(6)]

    @property
    def url(self) -> str:
        """All nodes as a URL; scheme `cluster`."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"cluster://{hosts}"

    def master_of(self, key: str) -> RedisServer:
        """The node that has the key's slot now."""
        with self._client(self._alive()[0]) as client:
            slot = client.cluster("keyslot", key)
        found: list[RedisServer] = []

        def one_has_it() -> bool:
            found[:] = [node for node in self._alive() if self._owns(node, slot)]
            return len(found) == 1

        wait_for(one_has_it, f"a master of slot {slot}")
        return found[0]

    def kill_master_of(self, key: str) -> RedisServer:
        """SIGKILL the key's master; returns it once its replica was promoted."""
        killed = self.master_of(key)
        killed.kill()
        self.master_of(key)
        return killed

    def is_whole(self) -> bool:
        """Whether every slot is served and every master has a replica."""
        with self._client(self._alive()[0]) as client:
            nodes: dict[str, dict[str, Any]] = client.cluster("nodes")
        linked = [node for node in nodes.values() if node["connected"]]
        replicas = [node for node in linked if "slave" in node["flags"]]
        return len(linked) == 6 and len(replicas) == 3 and self._is_ok()

    def wait_until_whole(self) -> None:
        """Wait until it could lose another master."""
        wait_for(self.is_whole, "a whole cluster")

    def _alive(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.running]

    def _is_ok(self) -> bool:
        return all(
            self._ask(node, "info")["cluster_state"] == "ok" for node in self._alive()
        )

    def _owns(self, node: RedisServer, slot: int) -> bool:
        me = next(
            told
            for told in self._ask(node, "nodes").values()
            if "myself" in told["flags"]
        )
        owned = [range(int(a), int(b) + 1) for a, b in map(_bounds, me["slots"])]
        return "master" in me["flags"] and any(slot in some for some in owned)

    def _ask(self, node: RedisServer, *words: str) -> dict[str, Any]:
        with self._client(node) as client:
            answer: dict[str, Any] = client.cluster(*words)
            return answer

    def _client(self, node: RedisServer) -> redis.Redis:
        return redis.Redis(
            "127.0.0.1", node.port, socket_timeout=2, protocol=2, decode_responses=True
        )

    def _start(self) -> None:
        for node in self.nodes:
            self._stack.enter_context(node)
        masters, replicas = self.nodes[:3], self.nodes[3:]
        bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
        for number, master in enumerate(masters):
            slots = range(bounds[number], bounds[number + 1])
            with self._client(master) as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *slots)
        for node in self.nodes[1:]:
            with self._client(node) as client:
                client.execute_command(
                    "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port
                )
        wait_for(
            lambda: all(len(self._ask(node, "nodes")) == 6 for node in self.nodes),
            "all nodes to know each other",
        )
        for master, replica in zip(masters, replicas, strict=True):
            with self._client(master) as client:
                id_ = client.execute_command("CLUSTER", "MYID")
            with self._client(replica) as client:
                client.execute_command("CLUSTER", "REPLICATE", id_)
        self.wait_until_whole()


def _bounds(slots: Sequence[str]) -> tuple[str, str]:
    return slots[0], slots[-1]


class WatchedRedis(Topology):
    """A master and a replica, watched by three sentinels."""

    def __init__(self) -> None:
        """Find the binary; raises `ServerNotFoundError`."""
        super().__init__()
        self.servers = [RedisServer(), RedisServer()]
        self.sentinels = [_Sentinel() for _ in range(3)]

    @property
    def url(self) -> str:
        """The sentinels as a URL; scheme `sentinel`."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"sentinel://{hosts}/{MASTER}"

    def master(self) -> RedisServer:
        """The server that every sentinel names and that says so itself."""
        found: list[RedisServer] = []

        def they_agree() -> bool:
            ports = {sentinel.master_port() for sentinel in self.sentinels}
            found[:] = [
                server
                for server in self.servers
                if {server.port} == ports and self._role(server) == "master"
            ]
            return len(found) == 1

        wait_for(they_agree, "a master on which the sentinels agree")
        return found[0]

    def replica(self) -> RedisServer:
        """The other one."""
        master = self.master()
        return next(server for server in self.servers if server is not master)

    def cut_the_replica_off(self) -> None:
        """Let what the master takes from now on not reach its replica."""
        with self._client(self.replica()) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", 1)

    def lose(self, pattern: str) -> int:
        """SIGKILL the master; how many keys its promoted replica does not have."""
        killed = self.master()
        promoted = self.replica()
        with self._client(killed) as client:
            there = set(client.scan_iter(match=pattern, count=1000))
        killed.kill()
        wait_for(lambda: self.master() is promoted, "the promotion of the replica")
        with self._client(promoted) as client:
            return len(there - set(client.scan_iter(match=pattern, count=1000)))

    def bring_back(self) -> None:
        """Start the server that was killed; the sentinels make it the replica."""
        next(server for server in self.servers if not server.running).start()
        wait_for(self._is_whole, "a replica that follows")

    def _is_whole(self) -> bool:
        with self._client(self.replica()) as client:
            told = client.info("replication")
        return bool(
            told["role"] == "slave"
            and told["master_link_status"] == "up"
            and told["master_port"] == self.master().port
        )

    def _role(self, server: RedisServer) -> str:
        with self._client(server) as client:
            return str(client.info("replication")["role"])

    def _client(self, server: RedisServer) -> redis.Redis:
        return redis.Redis("127.0.0.1", server.port, socket_timeout=2, protocol=2)

    def _start(self) -> None:
        master, replica = self.servers
        self._stack.enter_context(master)
        self._stack.enter_context(replica)
        with self._client(replica) as client:
            client.replicaof("127.0.0.1", str(master.port))
        for sentinel in self.sentinels:
            sentinel.watch(master.port)
            self._stack.enter_context(sentinel)
        wait_for(self._is_whole, "a replica that follows")
        wait_for(
            lambda: all(each.knows_the_others() for each in self.sentinels),
            "sentinels that know each other and the replica",
        )


class _Sentinel(RedisServer):
    """One sentinel; `watch` says what it watches before it starts."""

    def watch(self, port: int) -> None:
        self._config.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {port} 2\n"
            f"sentinel down-after-milliseconds {MASTER} 700\n"
            f"sentinel failover-timeout {MASTER} 3000\n"
        )

    def command(self) -> list[str]:
        options = ("--bind", "127.0.0.1", "--port", str(self.port))
        return [self._binary, str(self._config), "--sentinel", *options]

    def master_port(self) -> int:
        with self._client() as client:
            return int(client.sentinel_get_master_addr_by_name(MASTER)[1])

    def knows_the_others(self) -> bool:
        with self._client() as client:
            told = client.sentinel_master(MASTER)
        return int(told["num-other-sentinels"]) == 2 and int(told["num-slaves"]) == 1

    @property
    def _config(self) -> Path:
        return self.folder / "sentinel.conf"

    def _client(self) -> redis.Redis:
        return redis.Redis("127.0.0.1", self.port, socket_timeout=2, protocol=2)
