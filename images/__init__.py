"""Kernels, root file systems and tools, made from Debian's packages without root, and kept.

The rooms, from the ground up; imports run downwards only, and nothing of `harness` may enter:

* `errors`     what can go wrong here, each with its remedy
* `cache`      a store of built trees, keyed by content, safe against other builders and `kill -9`
* `apt`        Debian's packages: resolved, downloaded once, verified, by the machine's own apt
* `lock`       which package versions go in, and what happens when a suite has moved on
* `elf`        interpreter, run path and needed libraries of ELF files
* `initramfs`  newc archives, and the kernel inside a bzImage
* `recipes`    how each image is made of packages and of other images
* `builder`    recipe + lock + cache = an image on disk
* `agent/`     the C source of the one program that runs beside every subject
* `shim/`      the C source of the AMX work-around for UML kernels before 6.13
"""
