"""Clients, workers and applications: made, opened, listened to."""

from typing import Any, Literal, TypedDict

from pydantic import BaseModel
from pymongo import AsyncMongoClient
from redis.asyncio import Redis, RedisCluster
from typing_extensions import assert_type

from worchflow import (
    Context,
    Event,
    Middleware,
    SyncContext,
    Worcher,
    Worchflow,
    WorchflowClient,
    WorchflowFunction,
    event,
    function,
)
from worchflow.model.notices import (
    AttemptFailed,
    ErrorRaised,
    ExecutionCompleted,
    ExecutionStarted,
    ExecutionUpdated,
    Ready,
    StepCompleted,
)


class Receipt(BaseModel):
    txn: str


class Pay(Event[Receipt], name="pay"):
    amount: int


class MailData(TypedDict):
    to: str


class MailMessage(TypedDict):
    name: Literal["mail"]
    data: MailData


mail = event("mail", MailData, int)
app = Worchflow("plain")
typed_app = Worchflow[MailMessage]("typed")
annotated_app: Worchflow[MailMessage] = Worchflow("annotated", sqlite="x.db")


@function(Pay)
async def on_pay(ctx: Context[Pay]) -> Receipt:
    return Receipt(txn="x")


@function(mail)
def on_mail(ctx: SyncContext[MailData]) -> int:
    return 1


async def mail_handler(ctx: Context[MailData]) -> int:
    return 1


@app.function(Pay, retries=2)
async def pay_in_the_app(ctx: Context[Pay]) -> Receipt:
    assert_type(ctx.data.amount, int)
    return Receipt(txn="x")


@app.function("tick")
async def tick(ctx: Context[None]) -> str:
    return ""


assert_type(pay_in_the_app, WorchflowFunction[Pay, Receipt])
assert_type(tick, WorchflowFunction[None, str])
made = app.create_function(mail, on_mail.handler)
assert_type(made, WorchflowFunction[MailData, int])
app.function(Pay, retrys=2)  # BAD
app.function(Receipt)  # BAD
app.create_function(Pay, mail_handler)  # BAD


@app.function(Pay)  # BAD
async def wrong_result(ctx: Context[Pay]) -> int:
    return 1


def any_app(a: Worchflow) -> None: ...


async def from_the_app() -> None:
    any_app(app)
    any_app(typed_app)
    async with app.client() as client, app.worker(concurrency=2) as worker:
        assert_type(client, WorchflowClient)
        assert_type(worker, Worcher)
        await client.send(Pay(amount=1))
        await client.send("x")  # BAD
    async with typed_app.client() as typed:
        assert_type(typed, WorchflowClient[MailMessage])
        await typed.send({"name": "mail", "data": {"to": "x"}})
        await typed.send({"name": "mail", "data": {"too": "x"}})  # BAD
    app.worker(concurrency="2")  # BAD


async def from_urls() -> None:
    async with WorchflowClient.connect("redis://x", "mongodb://x/db") as plain:
        await plain.send(Pay(amount=1))
        await plain.send("x")  # BAD
    client_of_mail = WorchflowClient[MailMessage]
    async with client_of_mail.connect("redis://x", "mongodb://x/db") as typed:
        assert_type(typed, WorchflowClient[MailMessage])
        await typed.send({"name": "mail", "data": {"to": "x"}})
    await typed.close()
    WorchflowClient.connect("redis://x")  # BAD
    WorchflowClient.connect(1, 2)  # BAD


async def from_clients_of_ones_own() -> None:
    redis = Redis(host="x")
    cluster = RedisCluster(host="x")
    mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient("mongodb://x")
    db = mongo["x"]
    assert_type(WorchflowClient(redis=redis, db=db), WorchflowClient)
    WorchflowClient(redis=cluster, db=mongo.get_database("x"))
    typed = WorchflowClient[MailMessage](redis=redis, db=db, queue_prefix="p")
    await typed.send({"name": "mail", "data": {"to": "x"}})
    worker = Worcher([on_pay, on_mail, tick], redis=redis, db=db, concurrency=10)
    await worker.start()
    await worker.stop(timeout="30s")
    async with worker:
        pass
    in_a_variable: list[WorchflowFunction] = [on_pay, on_mail]
    Worcher(in_a_variable, redis=redis, db=db)
    by_name: dict[str, WorchflowFunction] = {"a": on_pay, "b": on_mail}
    Worcher(by_name.values(), redis=cluster, db=db)
    Worcher(app.functions, redis=redis, db=db, queue_prefix="p")
    Worcher([on_pay, 3], redis=redis, db=db)  # BAD
    Worcher([Pay], redis=redis, db=db)  # BAD
    Worcher([on_pay.handler], redis=redis, db=db)  # BAD
    Worcher(on_pay, redis=redis, db=db)  # BAD
    Worcher([on_pay], redis="redis://x", db=db)  # BAD
    Worcher([on_pay], redis=redis, db=db, concurency=2)  # BAD


def completed(notice: ExecutionCompleted) -> None:
    print(notice.execution_id, notice.attempt, notice.result)


async def failed(notice: AttemptFailed) -> None:
    print(notice.error, notice.will_retry)


def listens(client: WorchflowClient, worker: Worcher) -> None:
    def ready(notice: Ready) -> None: ...
    def errors(notice: ErrorRaised) -> None:
        print(notice.error)

    def started(notice: ExecutionStarted) -> None: ...
    def updated(notice: ExecutionUpdated) -> None: ...
    def step(notice: StepCompleted) -> None:
        print(notice.title, notice.step_id, notice.result)

    client.on("ready", ready)
    client.once("error", errors)
    client.on("execution:updated", updated)
    worker.on("execution:start", started)
    worker.on("execution:start", updated)
    worker.on("execution:complete", completed)
    worker.once("execution:failed", failed)
    worker.on("step:complete", step)
    worker.on("execution:complete", lambda notice: print(notice.result))
    worker.off("execution:complete", completed)
    worker.on("execution:start", completed)  # BAD
    worker.on("execution:failed", step)  # BAD
    worker.on("execution:strat", started)  # BAD
    worker.on("ready", errors)  # BAD
    worker.once("ready", completed)  # BAD
    worker.on("execution:start", lambda notice: print(notice.result))  # BAD


class Timing(Middleware):
    def on_execution_complete(self, notice: ExecutionCompleted) -> None:
        print(notice.execution_id)


class WrongHook(Middleware):
    def on_execution_complete(self, notice: Ready) -> None: ...  # BAD


Worchflow("with-middleware", middleware=[Timing()], durability="fast")
Worchflow("wrong", durability="quick")  # BAD
Worchflow("wrong", middleware=[Timing])  # BAD
Worchflow()  # BAD
