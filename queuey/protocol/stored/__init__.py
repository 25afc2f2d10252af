"""The texts that are stored with a job, beside its definition and its state."""
