"""Django's own tests: python -m django test examples.with_django --settings examples.with_django.settings"""

from __future__ import annotations

from unittest.mock import create_autospec, patch

from django.db import transaction
from django.test import TestCase

from examples.with_django import views
from examples.with_django.handlers import confirm
from examples.with_django.models import Order
from queuey import SyncClient


class Orders(TestCase):
    def setUp(self) -> None:
        self.client_of_queue = create_autospec(SyncClient, instance=True)
        self.enterContext(patch.object(views, "queue", lambda: self.client_of_queue))

    def test_the_job_is_enqueued_after_the_commit(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            answer = self.client.post("/orders", {"customer": "Ada"})
            self.client_of_queue.send.assert_not_called()
        self.assertEqual(answer.status_code, 202)
        order = Order.objects.get()
        (job,) = self.client_of_queue.send.call_args.args
        self.assertEqual((job.type, job.id, bytes(job.payload)), ("order.confirm", order.job_id, b"%d" % order.pk))

    def test_an_order_that_was_rolled_back_enqueues_nothing(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), self.assertRaises(ValueError), transaction.atomic():
            self.client.post("/orders", {"customer": "Ada"})
            raise ValueError("something later in the transaction fails")
        self.assertEqual(Order.objects.count(), 0)
        self.client_of_queue.send.assert_not_called()

    def test_the_handler_confirms_the_order(self) -> None:
        order = Order.objects.create(customer="Ada", job_id="")
        self.assertEqual(confirm(order.pk), "Thank you, Ada!")
        order.refresh_from_db()
        self.assertTrue(order.confirmed)
