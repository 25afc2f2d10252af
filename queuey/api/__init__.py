"""The HTTP API: parse, call, reply. No business logic lives here."""
