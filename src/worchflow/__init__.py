"""Durable, step-based workflows for Python teams."""

from __future__ import annotations

from .app import Worchflow
from .client import WorchflowClient
from .context import Context, Step, SyncContext
from .errors import (
    ConfigurationError,
    DuplicateStep,
    EventValidationError,
    ExecutionCancelled,
    ExecutionConflict,
    ExecutionFailed,
    ExecutionNotFound,
    FunctionAlreadyRegistered,
    InvalidInput,
    NestedStep,
    NonRetryable,
    PayloadTooLarge,
    RetryAfter,
    SchemaTooNew,
    SerializationError,
    StepError,
    StepFailed,
    StepResultChanged,
    StoreUnavailable,
    UnknownEvent,
    WorchflowError,
    WrongState,
)
from .events import Event, EventRef, event
from .function import WorchflowFunction, create_function, function
from .handle import ExecutionHandle
from .limits import Limits
from .middleware import Middleware
from .records import ErrorInfo, Execution, ExecutionStatus, Page, StepRecord
from .retry import Retry
from .serialization import Serializer
from .storage import open_backend
from .worker.worcher import Worcher
from .zones import Zoned

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "Context",
    "DuplicateStep",
    "ErrorInfo",
    "Event",
    "EventRef",
    "EventValidationError",
    "Execution",
    "ExecutionCancelled",
    "ExecutionConflict",
    "ExecutionFailed",
    "ExecutionHandle",
    "ExecutionNotFound",
    "ExecutionStatus",
    "FunctionAlreadyRegistered",
    "InvalidInput",
    "Limits",
    "Middleware",
    "NestedStep",
    "NonRetryable",
    "Page",
    "PayloadTooLarge",
    "Retry",
    "RetryAfter",
    "SchemaTooNew",
    "SerializationError",
    "Serializer",
    "Step",
    "StepError",
    "StepFailed",
    "StepRecord",
    "StepResultChanged",
    "StoreUnavailable",
    "SyncContext",
    "UnknownEvent",
    "Worcher",
    "Worchflow",
    "WorchflowClient",
    "WorchflowError",
    "WorchflowFunction",
    "WrongState",
    "Zoned",
    "__version__",
    "create_function",
    "event",
    "function",
    "open_backend",
]
