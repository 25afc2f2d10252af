"""The handlers, which workers run: queuey dev --app examples.with_fastapi.handlers:app"""

from __future__ import annotations

from pydantic import BaseModel, PositiveInt

from queuey import App

app = App()


class ReportOrder(BaseModel):
    customer: str
    year: PositiveInt


class Report(BaseModel):
    title: str
    pages: int


@app.job("report", timeout=600)
async def build_report(order: ReportOrder) -> Report:
    return Report(title=f"{order.customer}, {order.year}", pages=12)
