"""A transactional outbox: a job is enqueued if, and only if, its transaction was committed."""
