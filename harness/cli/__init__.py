"""The commands of the program foothold.

May import everything; nothing imports it. What takes long to import is imported where it is used,
so that `foothold --help` is quick.

Exit codes: 0 all as expected, 1 a finding, 2 usage, 3 the laboratory failed, 130 interrupted.
"""
