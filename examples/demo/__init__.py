"""The driver of `make demo`: makes pictures, has a real server shrink them, and checks every result."""
