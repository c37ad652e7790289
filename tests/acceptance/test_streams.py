"""Standard streams that are missing or take nothing, and a folder that is gone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.conftest import Seed
from tests.command_line import Outcome, Project

PAY = ("send", "-A", "shop:app", "process-payment", "-d", '{"amount": 5}')
WORK = ("worker", "shop:app", "--burst")

on_a_full_disk = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has a file that is always full"
)


def run_by_shell(project: Project, words: str, *arguments: str) -> Outcome:
    """Run a command as a shell does with these words, in which `"$@"` stands for it."""
    done = subprocess.run(
        ["/bin/sh", "-c", words, "sh", *project.command(*arguments)],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("missing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_worker_needs_no_streams(project: Project, seed: Seed, missing: str) -> None:
    seed({"order-1": ("process-payment", {"amount": 5})}, run=False)

    served = run_by_shell(project, f'exec "$@" {missing}', *WORK)

    assert served.code == 0, served.err
    assert "bug" not in served.err
    result = project.run("executions", "result", "order-1", "-A", "shop:app")
    assert "txn-ada-5" in result.out


@pytest.mark.parametrize(
    ("missing", "shown"),
    [("<&-", True), (">&-", False), ("2>&-", True), ("<&- >&- 2>&-", False)],
)
def test_what_is_printed_without_streams_goes_nowhere(
    project: Project, seed: Seed, missing: str, shown: bool
) -> None:
    seed({"order-1": ("process-payment", {"amount": 5})})

    listed = run_by_shell(project, f'exec "$@" {missing}', "executions", "list")

    assert (listed.code, listed.err) == (0, "")
    assert ("order-1" in listed.out) == shown


@on_a_full_disk
@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_output_that_cannot_be_written_is_no_bug(
    project: Project, seed: Seed, form: str
) -> None:
    seed({"order-1": ("process-payment", {"amount": 5})})
    to_nowhere = 'exec "$@" >/dev/full'

    listed = run_by_shell(project, to_nowhere, "-o", form, "executions", "list")
    helped = run_by_shell(project, to_nowhere, "--help")

    told = "error: the output could not be written: No space left on device [WF9001]\n"
    assert (listed.code, listed.err) == (74, told)
    assert (helped.code, helped.err) == (74, told)


@on_a_full_disk
@pytest.mark.parametrize("form", ["table", "json"])
def test_an_accepted_execution_is_named_although_stdout_takes_nothing(
    project: Project, form: str
) -> None:
    sent = run_by_shell(project, 'exec "$@" >/dev/full', *PAY, "-o", form)

    assert sent.code == 74
    (line,) = [each for each in sent.err.splitlines() if each.startswith("error: ")]
    id_ = line.removesuffix(" [WF9001]").rpartition("accepted as ")[2]
    shown = project.run("executions", "show", id_, "-o", "json", "-A", "shop:app")
    assert shown.json["id"] == id_


@on_a_full_disk
def test_errors_that_nobody_can_be_told_leave_their_exit_code(project: Project) -> None:
    failed = run_by_shell(project, 'exec "$@" 2>/dev/full', "no-such-command")
    sent = run_by_shell(project, 'exec "$@" 2>/dev/full', *PAY)

    assert failed.code == 2
    assert sent.code == 0
    assert sent.out.strip()


@pytest.mark.parametrize("arguments", [("executions", "list"), WORK, PAY])
def test_a_working_directory_that_is_gone_is_told(
    project: Project, arguments: tuple[str, ...]
) -> None:
    gone = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'

    done = run_by_shell(project, gone, *arguments)

    assert done.code == 2
    assert done.err.startswith("error: the working directory was removed: ")
    assert done.err.endswith("[WF1001]\n")
