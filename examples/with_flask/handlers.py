"""The handlers, which workers run: queuey dev --app examples.with_flask.handlers:app"""

from __future__ import annotations

from dataclasses import dataclass

from queuey import App

app = App()


@dataclass
class Report:
    title: str
    pages: int


@app.job("report", timeout=600)
def build_report(customer: str, year: int) -> Report:
    return Report(f"{customer}, {year}", pages=12)
