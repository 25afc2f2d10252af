"""The interval between renewals of a lease."""

from __future__ import annotations


def renewal_of(lease: float) -> float:
    """Return the seconds between two renewals of a lease: a third of it, so that one may fail."""
    return lease / 3
