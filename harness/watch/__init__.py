"""Tests a program again whenever it changes, in guests that stay booted.

* `session`     the loop: build, hand the program to the guests, wait for a change
* `sources`     which changes of files count
* `inotify`     the changes of files, as the kernel reports them
* `build`       the command that makes the program
* `programs`    finds the program that a command has made
* `answers`     the verdicts on the program, compared with those on the one before
* `view`        shows them: a table that is redrawn on a terminal, lines elsewhere
"""
