"""The secret of sessions, and the log of what operators did."""
