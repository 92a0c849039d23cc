"""`python -m harness.cli` is the program `foothold`."""

from harness.cli.door import program

program()
