"""Middleware and events for other libraries. Each module imports its library. See docs/hooks.md."""
