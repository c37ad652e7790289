"""`worchflow worker`: serves an app's functions until it is told to stop."""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...foundations.errors import ConfigurationError
from ...foundations.ids import step_name
from ...model.records import ExecutionStatus
from ...serialization.exception_text import describe
from ...worker.lifespan import RAISED
from ...worker.process import loop_factory, tune_garbage_collector
from ...worker.signals import end_on_sigterm
from ..failures import INTERRUPTED, AppFailed
from ..invocation import AppOption, Invocation, run
from ..logs import set_up_logging
from ..parsing import read_names

if TYPE_CHECKING:
    from ...app import Worchflow
    from ...definitions.registry import FunctionRegistry
    from ...model.notices import ExecutionSuspended, ExecutionUpdated, StepCompleted
    from ...worker.worcher import Worcher

logger = logging.getLogger("worchflow.worker")


def worker(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:APP]",
            help="The Worchflow object, such as shop:app; else --app or its setting.",
            show_default=False,
        ),
    ] = None,
    *,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "-c", "--concurrency", help="Executions at once.", show_default="10"
        ),
    ] = None,
    functions: Annotated[
        str | None,
        typer.Option(
            "--functions",
            metavar="ID,ID",
            help="Serve only these functions.",
            show_default="all",
        ),
    ] = None,
    burst: Annotated[
        bool,
        typer.Option(
            "--burst",
            help=(
                "Stop with exit code 0 once nothing is left to do now: no execution "
                "runs in this worker and none it serves came due for 2 seconds. "
                "Executions with a later time, and those other workers hold, stay."
            ),
        ),
    ] = False,
    shutdown_timeout: Annotated[
        str | None,
        typer.Option(
            "--shutdown-timeout",
            metavar="DURATION",
            help=(
                "How long the first SIGTERM or SIGINT waits for running executions "
                "before it hands them back; a second signal hands them back now."
            ),
            show_default="30s",
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option("--log-format", metavar="pretty|json", show_default="pretty"),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level", metavar="debug|info|warning|error", show_default="info"
        ),
    ] = None,
    app: AppOption = None,
) -> None:
    """Serve an app's functions.

    It runs until a signal or, with --burst, until nothing is left to do. Log lines
    go to stderr. Exit code 0 after SIGTERM or a finished burst, 130 after SIGINT.
    """
    invocation = Invocation.of(context, app=_one_target(context, target, app))
    settings = invocation.settings.with_flags(
        concurrency=concurrency,
        shutdown_timeout=shutdown_timeout,
        log_format=log_format,
        log_level=log_level,
    )
    names = read_names(functions, "--functions")
    # Before the app: what its module logs or sets up for itself comes after.
    set_up_logging(settings["log_format"], settings["log_level"])
    with end_on_sigterm():
        served = _load_app(invocation)

        async def work() -> signal.Signals | None:
            worcher = served.worker(
                concurrency=settings["concurrency"], functions=names
            )
            ExecutionLogger(served.registry).listen_to(worcher)
            return await worcher.run(
                shutdown_timeout=settings["shutdown_timeout"], burst=burst
            )

        tune_garbage_collector()
        try:
            received = run(work(), loop_factory=loop_factory())
        except Exception as error:
            if RAISED not in getattr(error, "__notes__", ()):
                raise
            raise AppFailed(
                f"the app's lifespan raised {type(error).__name__}; see above",
                traceback=describe(error).traceback,
            ) from error
        if received is signal.SIGINT:
            raise typer.Exit(INTERRUPTED)


def _load_app(invocation: Invocation) -> Worchflow[Any]:
    app = invocation.load_app()
    if app is None:
        raise ConfigurationError(
            "no app was named: worchflow worker MODULE:APP, such as shop:app, or set "
            "WORCHFLOW_APP"
        )
    if not app.functions:
        raise ConfigurationError(
            f'the app "{app.name}" has no functions: register them with '
            "@app.function(...) in its module or in one that it imports"
        )
    return app


def _one_target(
    context: typer.Context, target: str | None, app: str | None
) -> str | None:
    """The app that is named, as an argument, as an option, or as both."""
    named = {each for each in (context.obj.app, app, target) if each is not None}
    if len(named) > 1:
        first, second = sorted(named)[:2]
        raise ConfigurationError(
            f'two apps were named, "{first}" and "{second}": name one'
        )
    return next(iter(named), None)


@dataclass(frozen=True)
class ExecutionLogger:
    """Logs what happens to executions, with ids and names as fields of their own."""

    registry: FunctionRegistry

    def listen_to(self, worcher: Worcher) -> None:
        """Log from now on; costs nothing where the level hides it."""
        if logger.isEnabledFor(logging.INFO):
            worcher.on("execution:start", self._started)
            worcher.on("execution:suspended", self._suspended)
            worcher.on("execution:resumed", self._resumed)
            worcher.on("step:complete", self._step)
            worcher.on("execution:complete", self._completed)
            worcher.on("execution:updated", self._updated)

    def _started(self, notice: ExecutionUpdated) -> None:
        self._log(notice, "started, attempt %d", notice.attempt)

    def _suspended(self, notice: ExecutionSuspended) -> None:
        self._log(notice, "leaves this worker while it waits for %s", notice.reason)

    def _resumed(self, notice: ExecutionUpdated) -> None:
        self._log(notice, "continues, attempt %d", notice.attempt)

    def _step(self, notice: StepCompleted) -> None:
        name = step_name(notice.title, notice.key)
        self._log(notice, "recorded the step %s", name, step=notice.title)

    def _completed(self, notice: ExecutionUpdated) -> None:
        self._log(notice, "completed")

    def _updated(self, notice: ExecutionUpdated) -> None:
        # The engine itself tells about failures, with the reason.
        if notice.status is ExecutionStatus.CANCELLED:
            self._log(notice, "was cancelled")
        elif notice.status is ExecutionStatus.QUEUED:
            self._log(notice, "was handed back to the queue")

    def _log(
        self, notice: ExecutionUpdated, what: str, *args: Any, step: str | None = None
    ) -> None:
        function = self.registry.for_event(notice.event_name)
        logger.info(
            f"%s %s {what}",  # noqa: G004 - `what` is one of the formats above
            notice.event_name,
            notice.execution_id,
            *args,
            extra={
                "execution_id": notice.execution_id,
                "function": function.id if function else None,
                "step": step,
                "attempt": notice.attempt,
            },
        )
