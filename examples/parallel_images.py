"""Draws images and shrinks them, all in parallel: steps with keys in a TaskGroup.

    python examples/parallel_images.py

Each image is drawn by one step and shrunk by another. All of them share two titles;
the key tells them apart, whatever the order in which they finish. Plain `def`
functions run in threads. What goes from step to step is a path and some numbers:
large data belongs in files or an object store, not into the database.
"""

from __future__ import annotations

import asyncio
import math
import os
import tempfile
import zlib
from pathlib import Path

from pydantic import BaseModel

from worchflow import Context, Event, Worchflow

NAMES = ("dawn", "noon", "dusk", "night", "rain", "snow")
SIZE = 96

app = Worchflow("images")


class Image(BaseModel):
    path: Path
    width: int
    height: int
    compressed: int
    """Bytes after zlib."""


class MakeGallery(Event[list[Image]], name="make-gallery"):
    folder: Path
    names: list[str]


def draw(folder: Path, name: str) -> Image:
    """Draw a pattern that depends on the name, as a binary PPM file."""
    seed = sum(name.encode())
    pixels = bytearray()
    for y in range(SIZE):
        for x in range(SIZE):
            wave = math.sin(x / 9 + seed) + math.cos(y / 7 - seed)
            red = int(127 + 60 * wave)
            pixels += bytes((red, (x * 2 + seed) % 256, (y * 2 + seed) % 256))
    return write(folder / f"{name}.ppm", SIZE, SIZE, bytes(pixels))


def shrink(image: Image, factor: int) -> Image:
    """Replace each square of pixels by their average."""
    pixels = image.path.read_bytes()[-image.width * image.height * 3 :]
    width, height = image.width // factor, image.height // factor
    small = bytearray()
    for y in range(height):
        for x in range(width):
            square = [
                ((y * factor + dy) * image.width + x * factor + dx) * 3
                for dy in range(factor)
                for dx in range(factor)
            ]
            for channel in range(3):
                total = sum(pixels[start + channel] for start in square)
                small.append(total // len(square))
    target = image.path.with_name(f"{image.path.stem}-small.ppm")
    return write(target, width, height, bytes(small))


def write(path: Path, width: int, height: int, pixels: bytes) -> Image:
    # Writing the same bytes to the same place again does no harm: a step may have to.
    path.write_bytes(b"P6 %d %d 255\n" % (width, height) + pixels)
    size = len(zlib.compress(pixels))
    return Image(path=path, width=width, height=height, compressed=size)


@app.function(MakeGallery, timeout="5m")
async def make_gallery(ctx: Context[MakeGallery]) -> list[Image]:
    async def thumbnail(name: str) -> Image:
        step = ctx.step.options(key=name)
        image = await step.run("Draw", draw, ctx.data.folder, name)
        return await step.run("Shrink", shrink, image, factor=4)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(thumbnail(name)) for name in ctx.data.names]
    return [task.result() for task in tasks]


async def main(folder: Path) -> None:
    async with app.client() as client, app.worker():
        handle = await client.send(MakeGallery(folder=folder, names=list(NAMES)))
        gallery = await handle.result(timeout=60)

        for image in gallery:
            size = f"{image.width} x {image.height}"
            print(f"{image.path.name:16} {size:8} {image.compressed:5} bytes packed")
        steps = await client.steps(handle.id)
        print(f"{len(steps)} steps recorded, {len({s.title for s in steps})} titles")
        assert [image.path.stem for image in gallery] == [f"{n}-small" for n in NAMES]
        assert all(image.path.stat().st_size > image.width for image in gallery)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["WORCHFLOW_SQLITE_PATH"] = str(Path(temporary, "worchflow.db"))
        asyncio.run(main(Path(temporary)))
