"""The scripts that the Makefile runs. They are not part of the package."""
