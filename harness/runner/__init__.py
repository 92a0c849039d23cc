"""Runs cells: schedules guests, boots them, runs subjects, retries, blames."""
