"""Offers guests as pytest fixtures.

`hooks` is what pytest sees (options, markers, fixtures, reports); `lab` what a session has: which
guests there are, and those that have been booted.
"""
