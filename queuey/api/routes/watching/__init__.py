"""The routes for people who watch and operate a server."""
