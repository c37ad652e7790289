"""All of it in one run: Worchflow, the limits of its stores, and the peers.

    ./scripts/bench [--quick] [--only W1,W2] [--peers redflow,saq] [--write-docs]

Installs each peer by its package name into its own environment below `.bench/`,
starts the servers on 127.0.0.1 and stops them, and tells ratios first. A peer that
cannot be had is reported as skipped, with the reason. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymongo
import redis

from benchmarks.environments import ROOT, installed_version, python_of
from benchmarks.goals import BARE_WORKER, SQLITE, STRICT, check_goals
from benchmarks.page import DATA, write_page
from benchmarks.peers import PEERS_BY_NAME, Peer, Servers
from benchmarks.results import Results
from benchmarks.servers import LargeMongoServer
from tests.servers import MongoServer, RedisServer
from worchflow.bench.driver import ProgramFailed
from worchflow.bench.interruption import check, signals_noted
from worchflow.bench.machine import describe_machine, machine_line
from worchflow.bench.measurements import summarize
from worchflow.bench.places import SQLiteStore
from worchflow.bench.redis_mongo_place import RedisMongoStore
from worchflow.bench.report import HEADER, LEGEND, table_rows
from worchflow.bench.sizes import FULL, QUICK, WORKLOADS, Sizes
from worchflow.bench.systems import COMPARABLE, Bare, System, bare, worchflow
from worchflow.bench.workloads import Bench
from worchflow.cli.output import Output, OutputFormat, print_to_stderr

INTERRUPTED = 130
CONCURRENCY = 1_000
DISK = Path("/var/tmp")  # noqa: S108 - each makes its own folder there
"""Where all data goes: /tmp may be memory, where a flush costs nothing."""


def main() -> None:
    """Read the options, measure, print, and write what was asked for."""
    options = read_options()
    tempfile.tempdir = str(DISK)
    try:
        with signals_noted():
            results = measure(options)
    except KeyboardInterrupt:
        print_to_stderr("interrupted")
        sys.exit(INTERRUPTED)
    except ProgramFailed as error:
        print_to_stderr(str(error), label="error: ")
        sys.exit(1)
    for goal in check_goals(results):
        met = {True: "met", False: "NOT MET", None: "not measured"}[goal.met]
        print_to_stderr(f"{met}: {goal.text}: {goal.measured}")
    if options.json:
        results.write(options.json)
    if options.write_docs:
        results.write(DATA)
        write_page(results)


def read_options() -> argparse.Namespace:
    """The options; wrong ones end the program with what there is instead."""
    parser = argparse.ArgumentParser(
        "./scripts/bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=_names(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument(
        "--peers",
        type=_names(PEERS_BY_NAME),
        default=list(PEERS_BY_NAME),
        help=f'"none", or some of: {", ".join(PEERS_BY_NAME)}',
    )
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--runs", type=int, help="of everything (5, quick 1)")
    parser.add_argument("--executions", type=int, help="in a run of W1 and W6")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/performance.md anew"
    )
    return parser.parse_args()


def _names(known: Sequence[str] | dict[str, Any]) -> Any:
    def read(text: str) -> list[str]:
        names = [] if text == "none" else text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f'there is no "{name}"; there are: {", ".join(known)}'
                )
        return names

    return read


def measure(options: argparse.Namespace) -> Results:
    """Start the servers, measure everything in one run, stop the servers."""
    with ExitStack() as stack:
        redis_server = stack.enter_context(
            RedisServer(args=("--appendonly", "yes", "--appendfsync", "everysec"))
        )
        mongo = stack.enter_context(LargeMongoServer())
        servers = Servers(redis_server, stack)
        machine = describe_machine(DISK)
        machine["servers"] = servers.versions
        servers.versions |= _server_versions(redis_server, mongo)
        bench = Bench(own_systems(redis_server, mongo), sizes(options), print_to_stderr)
        chosen = [PEERS_BY_NAME[name] for name in options.peers]
        versions = add_peers(bench, chosen, servers)
        print_to_stderr(machine_line(machine))
        bench.run(options.only)
        compared = {each.name: each.compared_to for each in bench.systems}
        out = Output(OutputFormat.TABLE)
        out.table(HEADER, table_rows(summarize(bench.measurements, compared)))
        print_to_stderr(LEGEND)
        return Results.of(bench, machine, versions)


def sizes(options: argparse.Namespace) -> Sizes:
    """How much is measured."""
    chosen = QUICK if options.quick else FULL
    given = {"runs": options.runs, "executions": options.executions}
    return replace(chosen, **{name: each for name, each in given.items() if each})


def own_systems(redis_server: RedisServer, mongo: MongoServer) -> list[System]:
    """Worchflow on every store, and what each store can do at most."""
    pids = {"redis": redis_server.pid, "mongod": mongo.pid}
    strict, fast = (
        RedisMongoStore(redis_server.url, mongo.url, durability, pids)
        for durability in ("strict", "fast")
    )
    sqlite = SQLiteStore(DISK, "strict")

    @contextmanager
    def flushed() -> Iterator[dict[str, Any]]:
        with strict.place() as place:
            try:
                yield place
            finally:
                with redis.Redis.from_url(redis_server.url) as client:
                    client.flushall()

    bare_worker = Bare(
        name=BARE_WORKER,
        kind="bare",
        command=(sys.executable, "-m", "benchmarks.bare_worker"),
        place=flushed,
        compared_to=STRICT,
        servers=lambda: pids,
        settings={"concurrency": CONCURRENCY},
        environment={"PYTHONPATH": str(ROOT)},
        modes=frozenset(("prefilled", "payloads")),
        note=f"1 process, a coroutine for each execution, concurrency {CONCURRENCY:,}",
    )
    return [
        worchflow(strict, workers=1, concurrency=CONCURRENCY),
        worchflow(strict, workers=2, concurrency=CONCURRENCY, modes=COMPARABLE),
        worchflow(fast, workers=1, concurrency=CONCURRENCY, modes=COMPARABLE),
        bare(strict, STRICT),
        bare_worker,
        worchflow(sqlite, workers=1, concurrency=CONCURRENCY),
        worchflow(sqlite, workers=2, concurrency=CONCURRENCY, modes=COMPARABLE),
        bare(sqlite, SQLITE),
    ]


def add_peers(bench: Bench, peers: Sequence[Peer], servers: Servers) -> dict[str, str]:
    """Install them and start their servers; who cannot be had is skipped."""
    found: dict[str, str] = {}
    systems = list(bench.systems)
    for peer in peers:
        check()
        print_to_stderr(f"preparing {peer.label}")
        try:
            systems.append(peer.system(servers))
            python = python_of(peer.folder or peer.name)
            found[peer.label] = installed_version(python, peer.package)
        except Exception as error:  # noqa: BLE001 - whatever one lacks, go on
            bench.skip(peer.label, str(error))
    bench.systems = systems
    return found


def _server_versions(redis_server: RedisServer, mongo: MongoServer) -> dict[str, str]:
    with redis.Redis.from_url(redis_server.url) as client:
        redis_version = client.info("server")["redis_version"]
    with pymongo.MongoClient(mongo.url) as client:
        mongo_version = client.server_info()["version"]
    return {"redis-server": redis_version, "mongod": mongo_version}


if __name__ == "__main__":
    main()
