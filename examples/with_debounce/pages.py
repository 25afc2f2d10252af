"""A page is indexed once, however often it changes: queuey dev --app examples.with_debounce.pages:app"""

from __future__ import annotations

from queuey import App, Debounce
from queuey.client import Client
from queuey.models import EnqueueReply

app = App()


@app.job("page.index")
async def index_page(page: int, text: str) -> str:
    return f"page {page}: {len(text.split())} words"


async def page_changed(queue: Client, page: int, text: str) -> EnqueueReply:
    """Have the page indexed when it has not changed for half a minute. Call it after each change."""
    once = Debounce(f"page.index:{page}", wait=30, max_wait=300)
    return await index_page.enqueue(index_page.payload(page, text), client=queue, debounce=once)
