"""Thumbnails: one job makes one small picture out of a large one.

    queuey serve --app examples.thumbnails:app

    curl -s localhost:8000/v1/jobs -H 'content-type: application/json' -d '{
      "type": "thumbnail",
      "payload": {"source": "/photos/cat.jpg", "target": "/thumbs/cat.jpg", "width": 200, "height": 200},
      "dedupe_key": "cat.jpg:200x200"}'

Queuey runs a job at least once, so a job must bear being run twice. This one does: it writes the
thumbnail beside its target and moves it there in one step. Killed half-way it has not touched the target,
and run again it puts the same picture there and removes what the killed attempt left beside it.

What cannot be read is tried `max_attempts` times, since an upload may still be under way, and then waits
in the dead-letter queue for somebody to mend the file. A picture with too many pixels will have as many
next time, so it goes there at once.
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

# Decoded, a picture of 50 million pixels takes 150 to 200 MB of memory.
MAX_PIXELS = 50_000_000

# Pillow knows dozens of formats; each one that is not needed is one less to attack.
FORMATS = ("JPEG", "PNG", "WEBP")

Side = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class Thumbnail(msgspec.Struct, forbid_unknown_fields=True):
    """Paths are those of the machine that the worker runs on; `width` and `height` are in pixels."""

    source: str
    target: str
    width: Side
    height: Side


class Made(msgspec.Struct):
    """What the job's `result` shows: the file's size in bytes, and the seconds that it took to make it."""

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
    """Make one thumbnail of exactly the size asked for, cropped at the centre.

    Raises OSError where the source cannot be read or the target not be written (it is retried), and Dead
    where the picture has more than MAX_PIXELS.
    """
    started = time.perf_counter()
    target = Path(job.target)
    size = (job.width, job.height)
    with open_picture(job.source) as picture:
        # A JPEG can be decoded at a half, a quarter or an eighth: ask for no more than is needed.
        picture.draft(None, (2 * max(size), 2 * max(size)))
        upright = eight_bit(ImageOps.exif_transpose(picture))
        small = ImageOps.fit(fit_for(target, upright), size, Image.Resampling.LANCZOS)
    written = save_in_one_step(small, target, ctx)
    return Made(bytes=written, seconds=round(time.perf_counter() - started, 4))


def open_picture(source: str) -> Image.Image:
    """Read the header alone. Raises OSError when it is no picture, Dead when the picture is too large."""
    try:
        picture = Image.open(source, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise Dead(str(error)) from error
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise Dead(f"{picture.width} x {picture.height} pixels are more than {MAX_PIXELS:,}")
    return picture


def eight_bit(picture: Image.Image) -> Image.Image:
    """Bring 16-bit grey, which scans and medical images have, down to 8; Pillow itself would clip it."""
    if picture.mode.startswith("I"):
        return picture.point(lambda grey: grey * (1 / 256)).convert("L")
    return picture


def fit_for(target: Path, picture: Image.Image) -> Image.Image:
    """Convert to a mode that can be scaled smoothly and that the target's format can hold."""
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
    """Write beside the target and rename, so that a reader finds a whole picture or none. Returns bytes."""
    # Each claim of a job has a number of its own, so two attempts never write to one file, not even when
    # the older was given up and does not know it yet. What that one leaves behind goes here.
    for older in range(max(1, ctx.claims - 10), ctx.claims):
        part_file(target, ctx.job_id, older).unlink(missing_ok=True)
    part = part_file(target, ctx.job_id, ctx.claims)
    try:
        with part.open("wb") as file:
            picture.save(file, format=Image.registered_extensions()[target.suffix.lower()])
            # The rename must not reach the disk before the picture: success is acknowledged for good.
            file.flush()
            os.fsync(file.fileno())
        written = part.stat().st_size
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return written


def part_file(target: Path, job_id: str, claim: int) -> Path:
    return target.with_name(f".{target.name}.{job_id}.{claim}.part")
