"""Where handlers run: in the event loop, in threads, in processes."""
