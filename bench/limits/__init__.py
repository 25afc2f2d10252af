"""What this machine allows, and how much of it Queuey reaches, in the same run. `make bench-limits` runs it."""
