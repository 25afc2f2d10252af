"""The measurements. Each starts its own servers in a folder of its own and returns plain numbers."""

from bench.figures.draining import drain
from bench.figures.enqueueing import batch_enqueue, single_enqueue
from bench.figures.latency import pick_up

__all__ = ["batch_enqueue", "drain", "pick_up", "single_enqueue"]
