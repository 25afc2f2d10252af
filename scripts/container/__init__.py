"""What scripts/docker_test.sh asks of the system that it has brought up. Python's own library alone."""
