"""Checks of the system that scripts/docker_test.sh has started. They need only Python's standard library."""
