"""The demo from beginning to end. Each step is a method."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Literal

from examples.demo.client import Client, Deadline
from examples.demo.differences import differing_files, differing_ids, differing_metrics, differing_statuses
from examples.demo.figures import summarise
from examples.demo.pictures import make_all, make_one, sizes_in
from examples.demo.plan import Picture, job_request, make_plan
from examples.demo.processes import Server
from examples.demo.screen import Screen
from queuey.protocol.ids import new_id

TIME_LIMIT = 300.0  # seconds for up to 300 pictures; one more second for each further picture
LARGEST_BATCH = 50  # jobs in one request
SENT_TWICE = 20  # pictures
TICK = 0.25  # seconds
ADMIN_KEY = "dev"  # the admin key of a server without keys


@dataclass(frozen=True)
class Options:
    """The options of the demo. `work` is an empty folder for pictures, thumbnails, the server's data and its log."""

    work: Path
    pictures: int
    kill: Literal["server", "store"] | None


class Story:
    """The demo. It collects all differences from the expected result and continues after each."""

    def __init__(self, options: Options, screen: Screen) -> None:
        self.options = options
        self.screen = screen
        self.sources = options.work / "pictures"
        self.targets = options.work / "thumbnails"
        self.plan = make_plan(options.pictures)
        # Ids make a resend safe even if the job has died meanwhile, which has freed its dedupe key.
        self.job_ids = {picture: new_id(picture.dedupe_key) for picture in self.plan}
        self.corrupt = [picture for picture in self.plan if picture.fault is not None]
        self.server = Server(options.work)
        self.deadline = Deadline(TIME_LIMIT + max(0, options.pictures - 300))
        self.client = Client(
            HTTPConnection("127.0.0.1", self.server.port, timeout=10), self.deadline, self.server.check_alive
        )
        self.differences: list[str] = []

    def run(self) -> list[str]:
        """Run all steps and return the differences. Raises DemoFailed if it cannot continue."""
        try:
            self.make_pictures()
            self.start_server()
            self.submit()
            self.submit_some_again()
            self.wait_and_measure()
            self.show_dead_letters()
            self.repair_and_replay()
            self.check_everything()
        finally:
            self.client.close()
            self.differences += self.server.stop()
        self.screen.say("the server and its store are stopped")
        return self.differences

    def make_pictures(self) -> None:
        self.sources.mkdir()
        self.targets.mkdir()
        total = 0
        with (
            closing(make_all(self.plan, self.sources)) as sizes,
            self.screen.bar("making pictures", len(self.plan)) as bar,
        ):
            for size in sizes:
                total += size
                bar.advance()
                self.deadline.check("the pictures to be made")
        self.screen.say(
            f"  {len(self.plan) - len(self.corrupt)} good pictures and {len(self.corrupt)} corrupt files, "
            f"{total / 1e6:.1f} MB"
        )

    def start_server(self) -> None:
        self.server.start()
        self.client.get("/readyz")
        self.client.resent = 0
        self.screen.say(f"queuey serve is ready on port {self.server.port}")

    def submit(self) -> None:
        """Submit all jobs. A process is killed when a third is done, while the rest is submitted."""
        step = max(1, min(LARGEST_BATCH, len(self.plan) // 6))
        batches = [self.plan[i : i + step] for i in range(0, len(self.plan), step)]
        if self.options.kill is None:
            self.submit_batches("submitting jobs", batches)
            return
        first = len(batches) * 2 // 3
        self.submit_batches("submitting two thirds", batches[:first])
        self.wait_until_finished("running a third", len(self.plan) // 3)
        self.submit_batches("submitting the rest", batches[first:], meanwhile=self.kill)
        self.screen.say(f"  requests that were sent again: {self.client.resent}")

    def submit_batches(
        self, title: str, batches: Sequence[list[Picture]], meanwhile: Callable[[], None] | None = None
    ) -> None:
        with self.screen.bar(title, sum(map(len, batches))) as bar:
            for batch in batches:
                requests = [self.request(picture, self.job_ids[picture]) for picture in batch]
                ids = self.client.submit(requests, meanwhile)
                meanwhile = None
                self.differences += differing_ids([self.job_ids[picture] for picture in batch], ids)
                bar.advance(len(batch))

    def request(self, picture: Picture, job_id: str | None = None) -> dict[str, Any]:
        return job_request(picture, self.sources, self.targets, job_id)

    def kill(self) -> None:
        if self.options.kill == "server":
            self.server.kill_and_restart()
            self.screen.say("SIGKILL to queuey serve during a batch; it is started again", "bold red")
        else:
            pid = self.server.kill_store()
            self.screen.say(f"SIGKILL to the store (pid {pid}) during a batch", "bold red")

    def submit_some_again(self) -> None:
        """Submit some pictures a second time without ids: their dedupe keys find the jobs."""
        again = [picture for picture in self.plan if picture.fault is None][:SENT_TWICE]
        replies = [self.client.post("/v1/jobs", self.request(picture)) for picture in again]
        self.differences += differing_ids(
            [self.job_ids[picture] for picture in again], [reply["job_id"] for reply in replies]
        )
        recognised = sum(reply["deduplicated"] for reply in replies)
        if recognised != len(again):
            self.differences.append(f"of {len(again)} jobs sent twice, {recognised} were deduplicated")
        self.screen.say(f"  {recognised} of {len(again)} jobs sent twice were recognised by their dedupe key")

    def wait_and_measure(self) -> None:
        self.wait_until_finished("making thumbnails", len(self.plan))
        self.screen.figures(summarise(self.records()))

    def wait_until_finished(self, title: str, enough: int) -> None:
        """Wait until this many jobs have succeeded or are dead."""
        with self.screen.bar(title, enough) as bar:
            while True:
                queues = self.client.get("/v1/queues/metrics")["queues"]
                finished = sum(queue["finished"] + queue["dead_letter"] for queue in queues)
                note = ", ".join(
                    f"{sum(queue[place] for queue in queues)} {place.replace('_', ' ')}"
                    for place in ("running", "scheduled", "dead_letter")
                )
                bar.to(min(finished, enough), note)
                if finished >= enough:
                    return
                self.deadline.check(f"{enough} jobs to finish: {finished} have, {note}")
                self.server.check_alive()
                time.sleep(TICK)

    def records(self) -> list[dict[str, Any]]:
        return [self.client.get(f"/v1/jobs/{job_id}") for job_id in self.job_ids.values()]

    def show_dead_letters(self) -> None:
        expected = {
            job_id: "succeeded" if picture.fault is None else "dead_letter" for picture, job_id in self.job_ids.items()
        }
        records = self.records()
        self.differences += differing_statuses(expected, records)
        self.differences += differing_metrics(self.client.get("/v1/queues/metrics"), dead=len(self.corrupt))
        dead = [record for record in records if record["status"] == "dead_letter"]
        rows = [
            (
                record["id"],
                Path(record["payload"]["source"]).name,
                f"{record['attempts']} of {record['max_attempts']}",
                record["last_error"] or "",
            )
            for record in dead
        ]
        self.screen.table("The dead-letter queue", ("job", "file", "attempts", "last error"), rows)

    def repair_and_replay(self) -> None:
        for picture in self.corrupt:
            make_one(replace(picture, fault=None), self.sources)
        resent = self.client.resent
        reply = self.client.post("/v1/replay-dlq?limit=1000", key=ADMIN_KEY)
        requeued = reply["requeued"]
        # A replay that was sent again counts only the jobs that the first one left.
        if requeued != len(self.corrupt) and resent == self.client.resent:
            self.differences.append(f"the replay requeued {requeued} jobs instead of {len(self.corrupt)}")
        self.screen.say(f"repaired {len(self.corrupt)} files and replayed {requeued} jobs")
        self.wait_until_finished("waiting for the replayed jobs", len(self.plan))

    def check_everything(self) -> None:
        """Read each job again: a job that succeeded before a kill must still be succeeded after it."""
        expected = {picture.target_name: picture.thumbnail for picture in self.plan}
        self.differences += differing_files(expected, sizes_in(self.targets))
        self.differences += differing_statuses(dict.fromkeys(self.job_ids.values(), "succeeded"), self.records())
        self.differences += differing_metrics(self.client.get("/v1/queues/metrics"), dead=0)
