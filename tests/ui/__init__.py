"""The page at /ui/, in Chromium."""
