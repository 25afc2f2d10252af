"""Providers: functions that make the values of parameters, for a run or for a process."""
