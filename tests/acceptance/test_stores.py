"""The command line on Redis and MongoDB, and on stores that do not answer."""

from __future__ import annotations

import pytest

from tests.command_line import Project
from tests.servers import free_port

SEND = ("send", "process-payment", "-d", '{"amount": 5}', "--app", "shop:app")


@pytest.mark.redis_mongo
def test_the_same_app_runs_on_redis_and_mongodb(
    project: Project, redis_url: str, mongo_url: str, prefix: str
) -> None:
    project.environment |= {
        "WORCHFLOW_REDIS_URL": redis_url,
        "WORCHFLOW_MONGO_URL": mongo_url,
        "WORCHFLOW_PREFIX": prefix,
    }
    sent = project.run(*SEND)
    burst = project.run("worker", "shop:app", "--burst")
    result = project.run("executions", "result", sent.out.strip()[:8], "-o", "json")

    assert (sent.code, burst.code, result.code) == (0, 0, 0)
    assert result.json["result"] == "txn-ada-5"
    assert not project.database.exists()


def test_stores_that_do_not_answer_are_told_within_the_timeout(
    project: Project,
) -> None:
    port = free_port()
    project.environment |= {
        "WORCHFLOW_REDIS_URL": f"redis://:s3cret@127.0.0.1:{free_port()}",
        "WORCHFLOW_MONGO_URL": f"mongodb://ann:s3cret@127.0.0.1:{port}/shop",
    }

    with project.start(*SEND) as sender, project.start("worker", "shop:app") as worker:
        outcomes = sender.wait(), worker.wait()

    for failed in outcomes:
        assert failed.code == 3
        assert failed.out == ""
        assert "[WF2001]" in failed.err
        assert str(port) in failed.err
        assert "s3cret" not in failed.err
        assert "Traceback" not in failed.err


@pytest.mark.redis_mongo
def test_a_redis_that_does_not_answer_at_the_start_is_told(
    project: Project, mongo_url: str, prefix: str
) -> None:
    port = free_port()

    sent = project.run(
        *SEND,
        WORCHFLOW_REDIS_URL=f"redis://:s3cret@127.0.0.1:{port}",
        WORCHFLOW_MONGO_URL=mongo_url,
        WORCHFLOW_PREFIX=prefix,
    )

    assert sent.code == 3
    assert "[WF2001]" in sent.err
    assert str(port) in sent.err
    assert "s3cret" not in sent.err


def test_one_url_alone_is_never_a_silent_sqlite(project: Project) -> None:
    refused = project.run(
        "executions", "list", WORCHFLOW_REDIS_URL="redis://127.0.0.1:6379"
    )

    assert refused.code == 2
    assert "WORCHFLOW_MONGO_URL" in refused.err
    assert not project.database.exists()


def test_a_place_that_cannot_be_written_is_told(project: Project) -> None:
    project.write("file", "")

    refused = project.run("executions", "list", WORCHFLOW_SQLITE_PATH="file/x.db")

    assert refused.code in (2, 3)
    assert "file/x.db" in refused.err
    assert "Traceback" not in refused.err
