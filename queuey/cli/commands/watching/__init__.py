"""The commands for people who watch and operate a server."""
