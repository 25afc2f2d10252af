"""The page: its sessions, its headers and its files."""
