"""The laboratory: runs a subject in guests and says with evidence what happened.

The table in docs/design.md lists the rooms of this package and what each of them may import.
"""

try:
    from foothold_lab._version import version as _version
except ModuleNotFoundError:  # the sources, neither installed nor built
    _version = "0.0.0"

__version__ = _version
