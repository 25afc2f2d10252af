"""The lists set aside that a worker claims from, and the jobs that it gives back."""
