"""Load on a server of its own from a tool that others keep, with thresholds. `make load` runs it."""
