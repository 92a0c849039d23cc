"""The pytest plugin: guests as fixtures. A door like `cli`, for tests: it may import everything.

`hooks` is what pytest sees (options, markers, fixtures, reports); `lab` what a session has: which
guests there are, and those that have been booted.
"""
