"""One commit and the working tree, measured in turn and compared. `make bench-against` runs it.

Every figure is taken from outside, over HTTP and at the store's socket, so the two may differ in everything within.
"""
