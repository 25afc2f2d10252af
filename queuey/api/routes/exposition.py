"""The text format of Prometheus: the samples of several replicas in one answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

END: Final = "# EOF\n"
"""The last line of OpenMetrics. Prometheus' older format has none."""
_HEAD: Final = re.compile(r"# HELP (\S+) (?:.*\n)(?:#.*\n)*")
_BEFORE_A_FAMILY: Final = re.compile(r"^(?=# HELP )", re.MULTILINE)


class _Gathered(Collector):
    """Metrics that have already been read."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def text_of(families: Iterable[Metric], content_type: str) -> str:
    """Return the families in the format that `content_type`, or a header Accept, names."""
    encode, _ = choose_encoder(content_type)
    return encode(_Gathered(families)).decode()


def labelled(families: Iterable[Metric], name: str, value: str) -> Iterator[Metric]:
    """Yield the families with one more label on every sample."""
    for family in families:
        family.samples = [sample._replace(labels={**sample.labels, name: value}) for sample in family.samples]
        yield family


def joined(texts: Sequence[str]) -> str:
    """Join several texts of one format, with the samples of each family together, as the format requires.

    The texts are split and not parsed, which is fast enough for sixty replicas. No series may be in two of the texts.
    """
    families: dict[str, list[str]] = {}
    for text in texts:
        for family in _BEFORE_A_FAMILY.split(text.removesuffix(END)):
            head = _HEAD.match(family)
            if head is not None:
                families.setdefault(head[1], [head[0]]).append(family[head.end() :])
    parts = [part for parts in families.values() for part in parts]
    return "".join(parts) + (END if texts[0].endswith(END) else "")
