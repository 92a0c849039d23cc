"""Boots, inspects and stops each type of guest.

* `guest`      the protocol, and what every guest is given
* `native` `container` `uml` `qemu`   the kinds
* `machine`    what UML and QEMU share: a process on the host, its console, its line
* `host`       what this host lets a guest do: measured, not assumed
* `catalogue`  which guests there are, by name

May know `channels`, the values and `images`; never `run` or `sinks`.
"""
