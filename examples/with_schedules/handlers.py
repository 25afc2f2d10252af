"""The handlers, which workers run: queuey dev --app examples.with_schedules.handlers:app"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from queuey import App, Context

app = App()


@app.job("sales.report", timeout=600)
def build_report(ctx: Context, customer: str, timezone: str) -> str:
    tick = datetime.fromisoformat(ctx.metadata["schedule.tick"])  # also right when the job runs late, or in a backfill
    yesterday = tick.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1)
    return f"Sales of {customer} on {yesterday}"


@app.job("feed.refresh", timeout=3600)
def refresh_feed(ctx: Context, url: str) -> str:
    return f"{url} is as of {ctx.metadata['schedule.tick']}"
