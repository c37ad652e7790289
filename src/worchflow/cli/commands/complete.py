"""`worchflow complete`: answers a token that an execution waits for."""

from __future__ import annotations

from typing import Annotated

import typer

from ..invocation import AppOption, Invocation, OutputOption, run
from ..output import print_to_stderr
from ..parsing import read_data


def complete(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="The token's id.")],
    *,
    data: Annotated[
        str,
        typer.Option(
            "-d",
            "--data",
            metavar="JSON|@FILE|-",
            help="The answer: JSON, a file with it, or - for stdin.",
        ),
    ],
    app: AppOption = None,
    output: OutputOption = None,
) -> None:
    """Answer a token of step.token, once.

    The answer is checked against the type that the token was made with.
    """
    invocation = Invocation.of(context, app=app, output=output)
    worchflow = invocation.load_app()
    answer = read_data(data)
    out = invocation.output

    async def accept() -> None:
        async with invocation.client(worchflow, sends=True) as client:
            await client.complete(token, answer)

    run(accept())
    if out.is_table:
        print_to_stderr(f"accepted in {invocation.location(worchflow)}")
    else:
        out.object({"id": token})
