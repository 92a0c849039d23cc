"""`python -m harness.cli` is the program `foothold`."""

from foothold_lab.harness.cli.door import program

program()
