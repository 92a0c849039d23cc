"""Reliability under load: thousands of boots, random kills, hostile programs, interrupted builds.

`./foothold bench soak TABLE`. docs/reliability.md has the figures. Each table is bounded in time and
count, and repeats its random choices if the seed is given again.
"""
