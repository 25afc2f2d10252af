"""Queues that programs reach over a socket: how fast each takes jobs and hands them out, and what its reply means."""
