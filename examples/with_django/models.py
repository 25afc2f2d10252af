"""An order keeps the id of its job, so that its page can show how far the job is."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    customer = models.CharField(max_length=100)
    job_id = models.CharField(max_length=28)
    confirmed = models.BooleanField(default=False)
