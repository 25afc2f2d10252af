"""Groups of calls for people who watch a server."""
