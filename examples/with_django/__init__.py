"""A Django application whose slow work runs in Queuey. docs/recipes.md explains it."""
