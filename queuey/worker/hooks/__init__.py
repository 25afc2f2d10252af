"""The hooks of an App, which run beside its handlers. See docs/hooks.md."""
