"""The parameters of handlers, and the payloads that fill them."""
