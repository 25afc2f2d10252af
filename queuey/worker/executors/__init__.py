"""The executors, which run handlers in the event loop, in threads or in processes."""
