"""The test servers are real, keep their data and never outlive a test run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pymongo
import pytest
import redis
from pymongo.errors import PyMongoError

from tests.servers import ServerFailedError, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers import MongoServer, RedisServer

START_IN_A_PROCESS = """
import sys
from tests.servers import {cls}
server = {cls}().start()
print(server.pid, server.folder, flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    """Say whether the process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(condition: Callable[[], bool], timeout: float = 10) -> bool:
    """Poll another process's state, which no event announces."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_redis_with_an_append_only_file_survives_a_kill(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(appendonly=True)
    url, pid = server.url, server.pid
    with redis.Redis.from_url(url) as client:
        client.set("kept", "1")

    server.kill()
    assert not is_alive(pid)
    server.start()

    assert (server.url, server.pid != pid) == (url, True)
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"1"


def test_redis_without_a_file_comes_back_empty(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.set("lost", "1")

    server.restart()

    with redis.Redis.from_url(server.url) as client:
        assert client.get("lost") is None


def test_redis_takes_further_arguments(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis(args=("--maxmemory", "4mb"))

    with redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(4 << 20)}


def test_a_paused_redis_is_silent_until_it_goes_on(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    server.pause()

    with redis.Redis(
        "127.0.0.1", server.port, socket_timeout=0.2, retry=None
    ) as client:
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()

    with redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_a_paused_server_can_be_terminated_and_killed(
    start_redis: Callable[..., RedisServer],
) -> None:
    server = start_redis()
    for end in (server.terminate, server.kill):
        pid = server.pid
        server.pause()

        end()

        assert not is_alive(pid)
        server.start()


def test_stop_removes_the_data(start_redis: Callable[..., RedisServer]) -> None:
    server = start_redis(appendonly=True)

    server.stop()

    assert not server.folder.exists()
    assert not server.running


def test_a_server_that_cannot_start_shows_its_log(
    start_redis: Callable[..., RedisServer],
) -> None:
    with pytest.raises(ServerFailedError, match="no-such-option"):
        start_redis(args=("--no-such-option", "1"))


def test_a_known_port_is_never_swapped_for_another(
    start_redis: Callable[..., RedisServer],
) -> None:
    server, squatter = start_redis(), start_redis()
    server.kill()
    server.port = squatter.port

    with pytest.raises(ServerFailedError, match="did not start"):
        server.start()


def test_mongo_keeps_journaled_writes_over_a_kill(
    start_mongo: Callable[..., MongoServer],
) -> None:
    server = start_mongo()
    url = server.url
    concern = pymongo.WriteConcern("majority", j=True)
    with pymongo.MongoClient[dict[str, object]](url) as client:
        collection = client.test.get_collection("kept", write_concern=concern)
        collection.insert_one({"_id": 1})

    server.kill()
    server.start()

    assert server.url == url
    with pymongo.MongoClient[dict[str, object]](url) as client:
        assert client.test.kept.find_one() == {"_id": 1}
        assert client.admin.command("hello")["setName"] == "worchflow"


def test_a_standalone_mongo_is_no_replica_set_and_has_fail_points(
    start_mongo: Callable[..., MongoServer],
) -> None:
    server = start_mongo(replica_set=False, parameters={"enableTestCommands": 1})
    fail = {"failCommands": ["ping"], "errorCode": 2}

    with server.client() as client:
        assert "setName" not in client.admin.command("hello")
        client.admin.command(
            {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": fail}
        )
        with pytest.raises(PyMongoError):
            client.admin.command("ping")
        assert client.admin.command("ping")["ok"] == 1


@pytest.mark.parametrize("cls", ["RedisServer", "MongoServer"])
def test_a_killed_test_run_takes_its_servers_along(
    cls: str, redis_server: RedisServer, mongo_server: MongoServer
) -> None:
    del redis_server, mongo_server  # they skip this test where no binary exists
    run = subprocess.Popen(
        [sys.executable, "-c", START_IN_A_PROCESS.format(cls=cls)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    pid, folder = run.stdout.readline().split()
    assert is_alive(int(pid))

    run.kill()
    run.communicate()

    assert wait_until(lambda: not is_alive(int(pid)))
    assert wait_until(lambda: not Path(folder).exists())


def test_the_url_fixtures_reach_the_servers(
    redis_url: str, mongo_url: str, prefix: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.set(f"{prefix}:key", "1")
    with pymongo.MongoClient[dict[str, object]](mongo_url) as mongo:
        assert mongo.get_default_database().list_collection_names() == []


def test_a_free_port_is_outside_the_range_of_outgoing_connections() -> None:
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    lowest = int(limits.split()[0])

    assert all(free_port() < lowest for _ in range(20))
