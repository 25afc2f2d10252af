"""The page at /ui/: its files and its sessions."""
