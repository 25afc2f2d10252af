"""The driver of `make demo`. It makes pictures, lets a real server shrink them, and checks every result."""
