"""Gives a person a guest: shell, kept guests, repro, bundle, gdb.
kept, a cell once more and as a tarball, a debugger on its kernel.

May know everything but the orchestrator, the sinks and the doors: it is handed guests that are
booted, and to boot them and to tell of it is the doors' business.
"""
