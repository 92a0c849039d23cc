"""Runs cells: schedules guests, boots them, runs subjects in them, retries and judges."""
