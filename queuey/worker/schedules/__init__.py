"""The schedules that an App declares: their checks, and how they are put into the store."""
