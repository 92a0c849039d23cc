"""Starts the .NET runtime that is compiled into a library, by a call that sets its last error."""

import ctypes
import pathlib
import sys

import fixedwidth

[file] = pathlib.Path(fixedwidth.__file__).parent.glob("_lib/*.so")
library = ctypes.CDLL(str(file))
library.fw_layout_create(None, 0, None, None)
sys.stdout.write(f"hello from version {library.fw_abi_version()}\n")
