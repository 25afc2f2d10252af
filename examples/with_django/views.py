"""The requests: an order is stored, and its job is enqueued after the commit."""

from __future__ import annotations

from functools import partial

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_POST

from examples.with_django.handlers import confirm
from examples.with_django.models import Order
from examples.with_django.queue import queue
from queuey.client import NotFound, new_id

WAIT = 10.0


@require_POST
def place_order(request: HttpRequest) -> JsonResponse:
    with transaction.atomic():
        order = Order.objects.create(customer=request.POST["customer"], job_id=new_id())
        transaction.on_commit(partial(confirm.enqueue, order.pk, client=queue(), id=order.job_id))
    return JsonResponse({"order": order.pk}, status=202)


@require_GET
def show_order(request: HttpRequest, number: int) -> JsonResponse:
    """Answer when the job has finished, or after ten seconds."""
    order = get_object_or_404(Order, pk=number)
    try:
        job = queue().wait(order.job_id, timeout=WAIT)
    except NotFound:  # the job's retention is over: the order itself says what happened
        return JsonResponse({"status": "succeeded" if order.confirmed else "unknown", "text": None})
    return JsonResponse({"status": job.status, "text": job.value(str) if job.status == "succeeded" else None})
