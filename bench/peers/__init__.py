"""The same no-op job through Queuey and through other job queues, side by side. `make bench-peers` runs it."""
