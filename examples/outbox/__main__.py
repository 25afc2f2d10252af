"""A shop that takes orders and confirms each by a job: python -m examples.outbox [--url URL] [--once]."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time

from examples.outbox.outbox import SCHEMA, Relay, add

PAUSE = 0.5
LONGEST_PAUSE = 30.0


def open_shop(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, buyer TEXT NOT NULL)")
    database.execute(SCHEMA)
    return database


def order(database: sqlite3.Connection, buyer: str, *, paid: bool = True) -> str:
    """Take an order and enqueue its confirmation, both or neither. Return the id of the job."""
    with database:  # a transaction: committed at its end, rolled back on an error
        database.execute("INSERT INTO orders (buyer) VALUES (?)", (buyer,))
        job_id = add(database, "text.reverse", {"text": f"Thank you, {buyer}!"})
        if not paid:
            raise ValueError(f"{buyer} did not pay")
    return job_id


def run(relay: Relay, *, once: bool) -> int:
    """Send until stopped, or until the outbox is empty. The pause doubles while the server is unavailable."""
    pause = PAUSE
    while True:
        try:
            sent = relay.run_once()
        except OSError as error:
            print(f"The server does not accept jobs now: {error}", file=sys.stderr)
            if once:
                return 1
        else:
            pause = PAUSE
            if sent != (0, 0, 0):
                print(f"{sent.taken} sent, {sent.refused} refused, {sent.left} left for later")
                if not sent.left:
                    continue
            if once:
                return 1 if sent.left else 0
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.outbox")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--database", default="shop.sqlite3")
    parser.add_argument(
        "--order", action="append", default=[], metavar="BUYER", help="Take an order first. Repeatable."
    )
    parser.add_argument("--once", action="store_true", help="Exit when the outbox is empty.")
    arguments = parser.parse_args()
    database = open_shop(arguments.database)
    try:
        for buyer in arguments.order:
            print(f"{buyer}'s order will be confirmed by job {order(database, buyer)}")
        return run(Relay(database, arguments.url, os.environ.get("QUEUEY_API_KEY")), once=arguments.once)
    except KeyboardInterrupt:
        return 130
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(main())
