"""An import that fans out: a child for each of 1,000 pages, then a step for each topic.

    python examples/import_pages.py [PAGES]

The parent leaves its worker while the pages are read, so a slot is free for them. It
is woken by their ends and gets all results in the order of the pages. Then it writes a
summary of each topic, a few at once: `step.map` records each by itself.

With WORCHFLOW_REDIS_URL and WORCHFLOW_MONGO_URL it runs there, else on a new file.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from pydantic import BaseModel

from worchflow import Context, Event, Worchflow

TOPICS = ("cats", "dogs", "birds", "fish")

app = Worchflow("import")


class Page(BaseModel):
    number: int
    topic: str
    words: int


class Topic(BaseModel):
    name: str
    pages: int
    words: int


class ReadPage(Event[Page], name="read-page"):
    number: int


class Import(Event[list[Topic]], name="import"):
    pages: int


def download(number: int) -> str:
    """What would be a request: a topic, and some words."""
    return f"{TOPICS[number % len(TOPICS)]} " + "word " * (number % 10)


def summarize(pages: list[Page]) -> Topic:
    words = sum(page.words for page in pages)
    return Topic(name=pages[0].topic, pages=len(pages), words=words)


@app.function(ReadPage)
async def read_page(ctx: Context[ReadPage]) -> Page:
    text = await ctx.step.run("Download", download, ctx.data.number)
    topic, *words = text.split()
    return Page(number=ctx.data.number, topic=topic, words=len(words))


@app.function(Import)
async def import_pages(ctx: Context[Import]) -> list[Topic]:
    pages = await ctx.step.invoke_many(
        "Read pages", [ReadPage(number=n) for n in range(ctx.data.pages)]
    )
    topics: dict[str, list[Page]] = {}
    for page in pages:
        topics.setdefault(page.topic, []).append(page)
    return await ctx.step.map(
        "Summarize", summarize, topics.values(), key=lambda some: some[0].topic
    )


async def main(pages: int) -> None:
    async with app.client() as client, app.worker(concurrency=50):
        began = time.monotonic()
        handle = await client.send(Import(pages=pages))
        topics = await handle.result(timeout=300)
        took = time.monotonic() - began
        for topic in topics:
            print(f"{topic.name:6} {topic.pages:5} pages {topic.words:6} words")
        print(f"{sum(topic.pages for topic in topics)} pages in {took:.1f} s")
        assert sum(topic.pages for topic in topics) == pages
        steps = await client.steps(handle.id)
        print(f"{len(steps)} steps recorded, {len({s.title for s in steps})} titles")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        if "WORCHFLOW_REDIS_URL" not in os.environ:
            os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(temporary, "worchflow.db"))
        asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 1000))
