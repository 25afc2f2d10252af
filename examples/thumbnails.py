"""Thumbnails: each job makes a small picture from a large one.

    queuey serve --app examples.thumbnails:app

    curl -s localhost:8000/v1/jobs -H 'content-type: application/json' -d '{
      "type": "thumbnail",
      "payload": {"source": "/photos/cat.jpg", "target": "/thumbs/cat.jpg", "width": 200, "height": 200},
      "dedupe_key": "cat.jpg:200x200"}'

Queuey runs a job at least once, so a job must be idempotent. This one writes the thumbnail beside its target
and renames it in one step. If it is killed half-way, the target is unchanged. The next attempt writes the same
picture, and removes the partial file.

An unreadable file is tried `max_attempts` times, because an upload may still be running. Then the job waits in
the dead-letter queue until somebody repairs the file. A picture with too many pixels fails at once, because
another attempt would not help.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import msgspec
from PIL import Image, ImageOps

from queuey import App, Backoff, Context, Dead

app = App()

# A decoded picture of 50 million pixels takes 150 to 200 MB of memory.
MAX_PIXELS = 50_000_000

# Pillow supports dozens of formats. Fewer formats are a smaller attack surface.
FORMATS = ("JPEG", "PNG", "WEBP")

Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Thumbnail(msgspec.Struct, forbid_unknown_fields=True):
    """The payload. Paths are on the machine of the worker; `width` and `height` are in pixels."""

    source: str
    target: str
    width: Side
    height: Side


class Made(msgspec.Struct):
    """The result: the size of the file in bytes, and the seconds that it took."""

    bytes: int
    seconds: float


@app.job(
    "thumbnail",
    run_in="process",  # decoding is CPU work, and a broken picture may crash the decoder
    timeout=30,
    max_attempts=3,
    backoff=Backoff(base=0.5, cap=2),
)
def thumbnail(job: Thumbnail, ctx: Context) -> Made:
    """Make a thumbnail of exactly this size, cropped at the centre.

    Raises OSError if the source cannot be read or the target cannot be written (the job is retried), and Dead if the
    picture has more than MAX_PIXELS.
    """
    started = time.perf_counter()
    target = Path(job.target)
    size = (job.width, job.height)
    with open_picture(job.source) as picture:
        # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster.
        picture.draft(None, (2 * max(size), 2 * max(size)))
        upright = eight_bit(ImageOps.exif_transpose(picture))
        small = ImageOps.fit(fit_for(target, upright), size, Image.Resampling.LANCZOS)
    written = save_in_one_step(small, target, ctx)
    return Made(bytes=written, seconds=round(time.perf_counter() - started, 4))


def open_picture(source: str) -> Image.Image:
    """Read only the header. Raises OSError if the file is not a picture, and Dead if the picture is too large."""
    try:
        picture = Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Dead(str(error)) from error
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise Dead(f"{picture.width} x {picture.height} pixels are more than {MAX_PIXELS:,}")
    return picture


def eight_bit(picture: Image.Image) -> Image.Image:
    """Convert 16-bit grey, as in scans and medical images, to 8 bits. Pillow itself would clip it."""
    if picture.mode.startswith("I"):
        return picture.point(lambda grey: grey * (1 / 256)).convert("L")
    return picture


def fit_for(target: Path, picture: Image.Image) -> Image.Image:
    """Convert to a mode that scales smoothly and that the format of the target supports."""
    if picture.mode == "L":
        return picture
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    if target.suffix.lower() not in {".jpg", ".jpeg"}:
        return picture
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def save_in_one_step(picture: Image.Image, target: Path, ctx: Context) -> int:
    """Write beside the target and rename, so that readers never see a partial picture. Return the bytes."""
    # Each claim of a job has its own number, so two attempts never write to the same file, even if the older one
    # has lost its lease and does not know it yet. This removes the partial files of older attempts.
    for older in range(max(1, ctx.claims - 10), ctx.claims):
        part_file(target, ctx.job_id, older).unlink(missing_ok=True)
    part = part_file(target, ctx.job_id, ctx.claims)
    try:
        with part.open("wb") as file:
            picture.save(file, format=Image.registered_extensions()[target.suffix.lower()])
            # The rename must not reach the disk before the picture, because success is final.
            file.flush()
            os.fsync(file.fileno())
        written = part.stat().st_size
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return written


def part_file(target: Path, job_id: str, claim: int) -> Path:
    return target.with_name(f".{target.name}.{job_id}.{claim}.part")
