"""`worchflow config show`: every value, where it comes from, and no secret."""

from __future__ import annotations

from typing import Any

from tests.command_line import Project

URLS = """
[tool.worchflow]
app = "shop:app"
redis_url = "redis://:s3cret@127.0.0.1:6399/0"
mongo_url = "mongodb://ann:s3cret@127.0.0.1:27099/shop"
concurrency = 4
"""


def settings(project: Project, *arguments: str, **environment: str) -> dict[str, Any]:
    shown = project.run(*arguments, "config", "show", "-o", "json", **environment)
    assert shown.code == 0
    return {each.pop("name"): each for each in shown.json["settings"]}


def test_each_value_has_an_origin(project: Project) -> None:
    project.write("pyproject.toml", URLS)

    shown = settings(
        project, "--app", "other:app", WORCHFLOW_PREFIX="mine", WORCHFLOW_LOG_LEVEL=""
    )

    assert list(shown) == [
        *("app", "redis_url", "mongo_url", "sqlite_path", "prefix", "ts_compat"),
        *("concurrency", "shutdown_timeout", "log_level", "log_format"),
    ]
    file = "pyproject.toml [tool.worchflow]"
    assert {
        name: (each["value"], each["origin"], each["source"])
        for name, each in shown.items()
        if name in ("app", "concurrency", "prefix", "log_level")
    } == {
        "app": ("other:app", "flag", "--app"),
        "concurrency": (4, "file", file),
        "prefix": ("mine", "environment", "WORCHFLOW_PREFIX"),
        "log_level": ("info", "default", None),
    }
    assert shown["prefix"]["variable"] == "WORCHFLOW_PREFIX"


def test_no_secret_is_printed(project: Project) -> None:
    project.write("pyproject.toml", URLS)

    for_people = project.run("config", "show")
    for_programs = project.run("config", "show", "-o", "json")

    assert "s3cret" not in for_people.out + for_programs.out
    assert "mongodb://ann:***@127.0.0.1:27099/shop" in for_people.out
    assert "mongodb://ann:***@127.0.0.1:27099/shop" in for_programs.out


def test_the_store_in_use_is_told(project: Project) -> None:
    code = 'from worchflow import Worchflow\napp = Worchflow("a", sqlite="coded.db")'
    project.write("coded.py", code)
    project.write("broken.py", "raise RuntimeError('not today')")

    plain = project.run("config", "show")
    coded = project.run("config", "show", "--app", "coded:app", "-o", "json")
    broken = project.run("config", "show", "--app", "broken:app", "-o", "json")

    assert plain.out.endswith(f"\nThe store in use: {project.database}\n")
    assert coded.json["store"] == str(project.folder / "coded.db")
    assert (broken.code, broken.json["store"]) == (0, None)
    assert "RuntimeError: not today" in broken.err


def test_a_file_names_the_stores_of_the_app(project: Project) -> None:
    project.write("worchflow.toml", 'app = "shop:app"\nsqlite_path = "filed.db"')

    sent = project.run("send", "process-payment", "-d", '{"amount": 1}')

    assert sent.code == 0
    assert (project.folder / "filed.db").exists()
    assert not project.database.exists()


def test_a_wrong_value_is_refused_with_its_place(project: Project) -> None:
    in_environment = project.run("executions", "list", WORCHFLOW_CONCURRENCY="many")
    project.write("worchflow.toml", "concurency = 3")
    in_file = project.run("executions", "list")

    assert in_environment.code == 2
    assert "WORCHFLOW_CONCURRENCY='many' must be a whole number" in in_environment.err
    assert in_file.code == 2
    assert 'worchflow.toml has no setting "concurency", did you mean' in in_file.err
