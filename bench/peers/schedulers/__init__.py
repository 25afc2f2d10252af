"""The lateness of many schedules that are due at one moment, in Queuey and in other job queues."""
