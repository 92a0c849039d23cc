"""Every module can be imported on this Python, and neither its syntax nor its imports are deprecated."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import foothold_lab

_IMPORT_ALL = """
import importlib, sys, warnings
folder, *modules = sys.argv[1:]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for each in modules:
        importlib.import_module(each)
for each in caught:
    if each.filename.startswith(folder):
        print(each)
"""


def test_every_module_is_imported_without_a_warning(tmp_path: Path) -> None:
    modules = [
        each.name
        for each in pkgutil.walk_packages(foothold_lab.__path__, "foothold_lab.")
        if not each.name.endswith("__main__")
    ]
    assert len(modules) > 200
    folder = next(iter(foothold_lab.__path__))
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL, folder, *modules],
        # without byte code that is there already, the compiler prints its warnings
        env={**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
