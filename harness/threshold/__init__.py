"""Finds the smallest limit under which a subject starts."""
