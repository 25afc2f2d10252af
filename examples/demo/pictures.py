"""Draw the planned pictures, and corrupt those that must be unreadable."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter

from examples.demo.plan import SEED, Picture

ORIENTATION = 0x0112  # the EXIF tag that says which side of a photo is up


def make_all(pictures: list[Picture], folder: Path) -> Generator[int, None, None]:
    """Write every picture into `folder`, on all cores. Yield the bytes of each file when it is done.

    Closing the generator ends the work.
    """
    # Spawned, not forked: the progress bar has a thread, and a fork would copy its locks.
    context = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, 8)
    with ProcessPoolExecutor(workers, context, initializer=_leave_ctrl_c_to_the_parent) as pool:
        yield from pool.map(partial(make_one, folder=folder), pictures)


def _leave_ctrl_c_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def make_one(picture: Picture, folder: Path) -> int:
    """Write one picture, corrupt if its plan says so. Return the size of the file in bytes."""
    rng = random.Random(f"{SEED}:{picture.name}")
    data = encode(draw(picture, rng), picture, rng)
    path = folder / picture.name
    if picture.fault is None:
        path.write_bytes(data)
    else:
        data = spoil(data, picture.fault, rng)
        path.write_bytes(data)
        if is_readable(data):
            raise RuntimeError(f"{picture.name} should be unreadable ({picture.fault}), but is not")
    return len(data)


def draw(picture: Picture, rng: random.Random) -> Image.Image:
    size = picture.size
    match picture.kind:
        case "gradient":
            return _gradient(size, rng)
        case "noise":
            return _noise(size, rng)
        case "shapes" | "rotated":
            return _shapes(Image.new("RGB", size, _colour(rng)), rng)
        case "alpha":
            return _shapes(Image.new("RGBA", size, (0, 0, 0, 0)), rng)
        case "grey":
            return _photo(size, rng).convert("L")
        case "grey16":
            grey = _gradient(size, rng).convert("L").convert("I")
            return grey.point(lambda value: value * 257).convert("I;16")
        case "palette":
            return _shapes(Image.new("RGB", size, _colour(rng)), rng).quantize(64)
        case "cmyk":
            return _photo(size, rng).convert("CMYK")
        case _:
            return _photo(size, rng)


def encode(image: Image.Image, picture: Picture, rng: random.Random) -> bytes:
    file = BytesIO()
    if picture.name.endswith(".png"):
        image.save(file, "PNG", compress_level=3)
        return file.getvalue()
    exif = Image.Exif()
    if picture.kind == "rotated":
        exif[ORIENTATION] = rng.choice((3, 6, 8))
    image.save(file, "JPEG", quality=rng.randint(70, 92), progressive=rng.random() < 0.3, exif=exif)
    return file.getvalue()


def spoil(data: bytes, fault: str, rng: random.Random) -> bytes:
    """Make the bytes of a good file unreadable, as they occur in practice."""
    match fault:
        case "truncated":
            return data[: len(data) // 2]
        case "empty":
            return b""
        case "text":
            return b"This is a text file that somebody named .jpg.\n" * 20
        case "garbage":
            return data[:16] + rng.randbytes(len(data) - 16)
        case "flipped":
            return _flip_one_byte(data)
        case _:
            raise ValueError(f"unknown fault {fault!r}")


def is_readable(data: bytes) -> bool:
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


def sizes_in(folder: Path) -> dict[str, tuple[int, int] | str]:
    """Open and decode every file of a folder. Map names to sizes in pixels, or to error texts."""
    found: dict[str, tuple[int, int] | str] = {}
    for path in folder.iterdir():
        try:
            with Image.open(path) as image:
                image.load()
                found[path.name] = image.size
        except (OSError, SyntaxError) as error:
            found[path.name] = str(error) or type(error).__name__
    return found


def _flip_one_byte(data: bytes) -> bytes:
    """Flip a byte of a PNG's pixel data, one that breaks the decoding: not all do."""
    start = data.index(b"IDAT") + 4
    step = max(1, (len(data) - start) // 200)
    for position in range(start, len(data) - 12, step):
        flipped = bytearray(data)
        flipped[position] ^= 0xFF
        if not is_readable(bytes(flipped)):
            return bytes(flipped)
    raise RuntimeError("no byte of this picture breaks its decoding")


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _gradient(size: tuple[int, int], rng: random.Random) -> Image.Image:
    kinds = (Image.linear_gradient, Image.radial_gradient)
    bands = [rng.choice(kinds)("L").rotate(rng.choice((0, 90, 180, 270))) for _ in range(3)]
    return Image.merge("RGB", bands).resize(size, Image.Resampling.BICUBIC)


def _noise(size: tuple[int, int], rng: random.Random, coarseness: int = 2) -> Image.Image:
    width, height = (max(1, side // coarseness) for side in size)
    grains = Image.frombytes("RGB", (width, height), rng.randbytes(3 * width * height))
    return grains.resize(size, Image.Resampling.BILINEAR)


def _shapes(image: Image.Image, rng: random.Random) -> Image.Image:
    pen = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(60):
        left, top = rng.randrange(width), rng.randrange(height)
        box = (left, top, left + rng.randrange(1, width // 3), top + rng.randrange(1, height // 3))
        fill: tuple[int, ...] = _colour(rng)
        if image.mode == "RGBA":
            fill = (*fill, rng.randrange(64, 256))
        rng.choice((pen.ellipse, pen.rectangle))(box, fill=fill)
    return image


def _photo(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Draw soft shapes with grain, which compress about as well as a real photo."""
    scene = _shapes(_gradient(size, rng), rng).filter(ImageFilter.BoxBlur(3))
    return Image.blend(scene, _noise(size, rng, coarseness=3), 0.15)
