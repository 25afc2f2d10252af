"""Help for tests of the Lua scripts."""
