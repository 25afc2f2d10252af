"""The handlers, which workers run through worker.py. They may use the models."""

from __future__ import annotations

from django.db import close_old_connections

from examples.with_django.models import Order
from queuey import App, Context, Middleware

app = App()


@app.middleware
def connections(ctx: Context) -> Middleware:
    """Do what Django does around a request: a connection that the database has closed is opened again."""
    close_old_connections()
    yield
    close_old_connections()


@app.job("order.confirm", timeout=30)
def confirm(order: int) -> str:
    """Confirm an order. The models block, so this is a plain function, which runs in a thread."""
    found = Order.objects.get(pk=order)
    found.confirmed = True
    found.save(update_fields=["confirmed"])
    return f"Thank you, {found.customer}!"
