"""The laboratory: runs a subject in guests and says with evidence what happened.

The table in docs/design.md lists the rooms of this package and what each of them may import.
"""

__version__ = "0.1.0"
