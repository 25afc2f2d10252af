"""The parts of the transport: connections, and when a request is sent again."""
