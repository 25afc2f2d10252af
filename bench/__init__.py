"""How fast Queuey is and what it costs, measured on real processes. `make bench` runs it."""
