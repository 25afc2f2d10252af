"""The commands for a project on the machine of a developer."""
