"""`python -m foothold_lab.harness.cli` is the program `foothold`."""

from foothold_lab.harness.cli.main import program

program()
