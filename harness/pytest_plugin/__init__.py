"""Offers guests as pytest fixtures.

`hooks` is what pytest loads in every project; the rest is imported when a test requests a fixture.
`fixtures` holds their values, `lab` the guests of a session, `grouping` decides which tests use a
guest, their order and distribution, `report` adds evidence to the report of a failed test.
"""
