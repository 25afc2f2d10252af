"""Checks of requests that are items of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from queuey.errors import Fault, Invalid
from queuey.protocol.idempotency import HEADER
from queuey.protocol.json.payload_faults import PayloadFault, faults_of
from queuey.protocol.models import JobRequest
from queuey.protocol.schema_faults import ALLOWED, invalid, together
from queuey.services.jobs.unique import is_key
from queuey.settings.units import format_duration

_IS_DUE: Final = "is not for an item of a batch, which is due with its batch; leave it out, or change `max_wait`"
_IS_ONE: Final = "is not for an item of a batch, which the id of the item keeps from being added twice; leave one out"
NOT_WITH_BATCH: Final = {
    "dedupe_key": _IS_ONE,
    "dedupe_ttl": _IS_ONE,
    "unique": _IS_ONE,
    "debounce": _IS_ONE,
    "throttle": _IS_ONE,
    "delay": _IS_DUE,
    "run_at": _IS_DUE,
}
"""The fields that an item of a batch cannot have, and why."""


def check_batch(request: JobRequest, max_delay: float) -> None:
    """Check that a request may be an item of a batch, if it wants to. `max_delay`: the setting. Raises Invalid."""
    batch = request.batch
    if batch is None:
        return
    faults = [
        Fault(f"/{name}", detail) for name, detail in NOT_WITH_BATCH.items() if getattr(request, name) is not None
    ]
    if faults:
        raise Invalid(f"{faults[0].pointer[1:]} {faults[0].detail}.", faults)
    if not is_key(batch.key):
        raise invalid("/batch/key", f"must be {ALLOWED['/batch/key']}")
    if batch.max_wait > max_delay:
        raise invalid("/batch/max_wait", f"must be at most {format_duration(max_delay)} (max_delay)")
    if request.expires_in is not None and request.expires_in <= batch.max_wait:
        raise invalid("/expires_in", "must be longer than the time until the batch is due (max_wait)")


def refuse_once(request: JobRequest) -> None:
    """Refuse an item of a batch that has an Idempotency-Key. Raises Invalid."""
    if request.batch is not None:
        detail = f"cannot be given together with the header {HEADER}; give the item an id instead, which does the same"
        raise invalid("/batch", detail)


def check_item_fits(job_type: str, payload: bytes, decode: Callable[[bytes], object]) -> None:
    """Check that the payload of an item fits its type, which takes the list of the items. Raises Invalid.

    `decode` decodes the payloads of the type.
    """
    try:
        decode(b"[" + payload + b"]")
    except msgspec.ValidationError as error:
        raise together([_misfit(job_type, fault) for fault in faults_of(error)]) from None
    except Exception:
        return  # as in Submission.check_fit


def _misfit(job_type: str, fault: PayloadFault) -> Invalid:
    reason = f"{fault.reason[:1].lower()}{fault.reason[1:]}"
    if fault.pointer == "/0" or fault.pointer.startswith("/0/"):
        detail = f"does not fit jobs of the type {job_type}: {reason}"
        return invalid(f"/payload{fault.pointer.removeprefix('/0')}", detail)
    return invalid("/batch", f"is for types whose payload is a list, not for the type {job_type}: {reason}")
