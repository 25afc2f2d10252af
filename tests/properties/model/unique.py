"""What the scripts promise to requests whose key another job holds."""

from __future__ import annotations

from dataclasses import fields

from tests.properties.model.contents import Following, Job, Request
from tests.properties.model.steps import Steps


class Keys(Steps):
    def conflict(self, now: int, full: bool, new: Request, holder: str | None) -> str:
        """The answer to a request whose job is not there; '' = the job is to be enqueued."""
        other = holder if holder != new.id else None
        if new.unique is None:
            return f"duplicate {other}" if other else ""
        if "unique" not in self.features:
            return "closed"
        if new.id in self.replaced:
            return self.replaced[new.id]
        if other is None:
            return ""
        if new.unique.do != "replace":
            return f"{'rejected' if new.unique.do == 'reject' else 'duplicate'} {other}"
        return self._replace(now, full, new, other)

    def _replace(self, now: int, full: bool, new: Request, holder: str) -> str:
        if not (job := self.jobs.get(holder)):
            return ""
        kind = Job.type.fget(new)  # type: ignore[attr-defined] # both have a body
        if (kind, new.queue, new.lane, new.until) != (job.type, job.queue, job.lane, job.until):
            return f"differs {holder}"
        if job.status not in ("waiting", "running"):
            return ""
        if job.status == "running" and job.until != "f":
            return f"differs {holder}"
        if full:
            return "full"
        if job.status == "running":
            self.again[holder] = Following(**{each.name: getattr(new, each.name) for each in fields(Following)})
            self.replaced[new.id] = f"follows {holder}"
        else:
            self._replace_waiting(now, new, holder)
            self.replaced[new.id] = f"replaced {holder}"
        return self.replaced[new.id]

    def _replace_waiting(self, now: int, new: Request, holder: str) -> None:
        """It keeps its id, its place, and all but its body. A wait begins again, but for its maximum."""
        job = self.jobs[holder]
        job.body, job.checkpoint, job.checkpoint_at = new.body, "", 0
        self.again.pop(holder, None)
        assert new.unique is not None
        if new.unique.wait_ms and holder in self.scheduled:
            due = min(now + new.unique.wait_ms, job.created_at + new.unique.max_wait_ms)
            if due < self.scheduled[holder]:
                self.awake.add(job.queue)
            self.scheduled[holder] = job.ready_at = due
