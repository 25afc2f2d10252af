"""The version: read by the build, and shown by every part."""

__version__ = "0.1.0"
