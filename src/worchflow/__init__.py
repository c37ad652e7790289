"""Durable, step-based workflows for Python teams."""

from __future__ import annotations

from .app import Worchflow
from .client.client import WorchflowClient
from .client.handle import ExecutionHandle
from .definitions.children import ChildHandle, SyncChildHandle
from .definitions.context import Context, SyncContext
from .definitions.events import Event, EventRef, event
from .definitions.function import WorchflowFunction, create_function, function
from .definitions.middleware import Middleware
from .definitions.retry import Retry
from .definitions.steps import Step
from .definitions.tokens import SyncToken, Token
from .foundations.errors import (
    ConfigurationError,
    DeadlineExceeded,
    DuplicateStep,
    EventConflict,
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
    SchemaTooOld,
    SerializationError,
    StepError,
    StepFailed,
    StepResultChanged,
    StoreUnavailable,
    UnknownEvent,
    WorchflowError,
    WrongState,
)
from .foundations.limits import PayloadLimits
from .foundations.steps_failed import StepsFailed
from .model.options import BackendOptions, Retention, WorkerOptions
from .model.records import (
    AttemptRecord,
    ErrorInfo,
    Execution,
    ExecutionStatus,
    Page,
    StepRecord,
    WaitRecord,
)
from .serialization.serializer import Serializer
from .serialization.zones import Zoned
from .storage.choice import open_backend
from .worker.worcher import Worcher

__version__ = "0.1.0"

__all__ = [
    "AttemptRecord",
    "BackendOptions",
    "ChildHandle",
    "ConfigurationError",
    "Context",
    "DeadlineExceeded",
    "DuplicateStep",
    "ErrorInfo",
    "Event",
    "EventConflict",
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
    "Middleware",
    "NestedStep",
    "NonRetryable",
    "Page",
    "PayloadLimits",
    "PayloadTooLarge",
    "Retention",
    "Retry",
    "RetryAfter",
    "SchemaTooNew",
    "SchemaTooOld",
    "SerializationError",
    "Serializer",
    "Step",
    "StepError",
    "StepFailed",
    "StepRecord",
    "StepResultChanged",
    "StepsFailed",
    "StoreUnavailable",
    "SyncChildHandle",
    "SyncContext",
    "SyncToken",
    "Token",
    "UnknownEvent",
    "WaitRecord",
    "Worcher",
    "Worchflow",
    "WorchflowClient",
    "WorchflowError",
    "WorchflowFunction",
    "WorkerOptions",
    "WrongState",
    "Zoned",
    "__version__",
    "create_function",
    "event",
    "function",
    "open_backend",
]
