"""The schedules, which an application puts when a customer changes something, or at its start."""

from __future__ import annotations

from contextlib import suppress

from examples.with_schedules.handlers import build_report, refresh_feed
from queuey import Fields
from queuey.client import Client, NotFound
from queuey.models import Schedule, ScheduleRequest


async def report_each_night(queue: Client, customer: str, timezone: str) -> Schedule:
    """Put the schedule of a customer. Call it again whenever the time zone of the customer changes."""
    job = build_report.request(Fields(customer=customer, timezone=timezone))
    schedule = ScheduleRequest(cron="0 3 * * *", timezone=timezone, jitter=600, job=job)
    return await queue.put_schedule(f"sales-report.{customer}", schedule)


async def report_no_more(queue: Client, customer: str) -> None:
    with suppress(NotFound):
        await queue.delete_schedule(f"sales-report.{customer}")


async def refresh_often(queue: Client, url: str) -> Schedule:
    schedule = ScheduleRequest(cron="*/15 * * * *", overlap="skip", job=refresh_feed.request(url))
    return await queue.put_schedule("feed-refresh", schedule)
