"""Errors of the library as HTTP answers of a Starlette or FastAPI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from ..foundations.errors import (
    EventConflict,
    EventValidationError,
    ExecutionConflict,
    ExecutionNotFound,
    InvalidInput,
    SerializationError,
    StoreUnavailable,
    WorchflowError,
    WrongState,
)

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

STATUSES: dict[type[WorchflowError], int] = {
    ExecutionNotFound: 404,
    ExecutionConflict: 409,
    EventConflict: 409,
    WrongState: 409,
    InvalidInput: 422,
    StoreUnavailable: 503,
}


def answer_errors(app: Starlette) -> None:
    """Answer 404, 409, 422 and 503 where an endpoint raises an error of the library.

    Unknown ids are 404, conflicts and wrong states 409, input that cannot be 422, and
    stores that do not answer 503. The body is `{"detail": …, "code": "WF…"}`, with
    nothing in it about where the data is. Other errors stay what they were: a mistake
    in the application, a stored value that no longer decodes, or an execution that
    failed are a 500. For FastAPI it is the same call.
    """
    for kind in STATUSES:
        app.add_exception_handler(kind, _answer)


async def _answer(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, SerializationError) and not isinstance(
        error, EventValidationError
    ):
        raise error  # What is stored and the code disagree: no fault of the request.
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    detail, code = str(error), getattr(error, "code", WorchflowError.code)
    if isinstance(error, StoreUnavailable):
        # Its message names the store; after a send the outcome is not known.
        detail = "the store does not answer: try again with the same id"
    return JSONResponse({"detail": detail, "code": code}, status)
