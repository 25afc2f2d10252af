"""A transactional outbox: a job is sent if, and only if, the transaction that asked for it was committed."""
