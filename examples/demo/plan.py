"""The plan of the demo: all pictures and thumbnails. The same seed gives the same plan."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 20
KINDS = ("photo", "gradient", "noise", "shapes", "alpha", "grey", "grey16", "palette", "cmyk", "rotated")
FAULTS = ("truncated", "empty", "text", "garbage", "flipped")
PNG_KINDS = frozenset({"alpha", "grey16", "palette"})
JPEG_KINDS = frozenset({"cmyk", "rotated", "photo"})
SHAPES = ((4, 3), (3, 2), (16, 9), (1, 1), (3, 4), (2, 3), (5, 1))
THUMBNAILS = ((200, 200), (320, 180), (160, 240), (96, 96), (255, 77))
SMALLEST, LARGEST = 0.1e6, 4e6  # pixels


@dataclass(frozen=True)
class Picture:
    """A picture to draw and the thumbnail to make of it. `fault` says how its file is corrupted."""

    number: int
    name: str
    kind: str
    size: tuple[int, int]
    thumbnail: tuple[int, int]
    fault: str | None = None

    @property
    def dedupe_key(self) -> str:
        return f"{self.name}:{self.thumbnail[0]}x{self.thumbnail[1]}"

    @property
    def target_name(self) -> str:
        stem, _, suffix = self.name.rpartition(".")
        return f"{stem}.{self.thumbnail[0]}x{self.thumbnail[1]}.{suffix}"


def make_plan(pictures: int, seed: int = SEED) -> list[Picture]:
    """Plan `pictures` good pictures and one per fault, spread evenly among the others."""
    total = pictures + len(FAULTS)
    faulty = {(2 * i + 1) * total // (2 * len(FAULTS)): fault for i, fault in enumerate(FAULTS)}
    return [_plan_one(number, faulty.get(number), seed) for number in range(total)]


def _plan_one(number: int, fault: str | None, seed: int) -> Picture:
    rng = random.Random(f"{seed}:{number}")
    kind = KINDS[number % len(KINDS)]
    if fault is not None:
        kind = "shapes"
    png = kind in PNG_KINDS or (kind not in JPEG_KINDS and rng.random() < 0.4)
    if fault is not None:
        png = fault == "flipped"
    pixels = SMALLEST * (LARGEST / SMALLEST) ** rng.random()
    across, down = rng.choice(SHAPES)
    unit = (pixels / (across * down)) ** 0.5
    # Real folders hold names like these.
    word = rng.choice(("picture", "IMG", "Zürich am See", "写真", "scan (copy)"))
    return Picture(
        number=number,
        name=f"{word} {number:04d}.{'png' if png else 'jpg'}",
        kind=kind,
        size=(round(across * unit), round(down * unit)),
        thumbnail=rng.choice(THUMBNAILS),
        fault=fault,
    )


def job_request(picture: Picture, sources: Path, targets: Path, job_id: str | None) -> dict[str, Any]:
    """Return the body of `POST /v1/jobs`. With an id, it is always safe to send it again."""
    width, height = picture.thumbnail
    request: dict[str, Any] = {
        "type": "thumbnail",
        "payload": {
            "source": str(sources / picture.name),
            "target": str(targets / picture.target_name),
            "width": width,
            "height": height,
        },
        "dedupe_key": picture.dedupe_key,
    }
    return request if job_id is None else {**request, "id": job_id}
