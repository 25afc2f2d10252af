"""One script per peer, run by the peer's own interpreter; see bench.peers.adapters.common for what they are told."""
