"""Builds kernels, root file systems and tools from Debian packages, without root, into a cache.

A module imports only modules above it in this list, and nothing of `harness`:

* `errors`, `progress`  errors with remedies; messages of long operations
* `regular_file` opens a file that may be a FIFO or a device
* `processes`    child processes that end with an interrupted build
* `manifest`     the files of a built tree, and what is damaged
* `usage`        marks on trees that a process uses
* `cache`        a store of built trees, keyed by content, safe under concurrent builds and kill -9
* `mirror`       chooses the Debian archive
* `elf`          reads ELF files, and sets the interpreter and run path of programs
* `own_apt`      an apt made of Debian's packages, for machines without one
* `apt`          resolves, downloads and verifies Debian packages, with the machine's apt if it has one
* `lock`         the locked versions of the packages
* `verify`       finds and removes what is damaged in the store
* `initramfs`    newc archives, and the kernel inside a bzImage
* `debian_arch`  Debian's ports
* `recipes`, `rootfs`, `kernels`, `kernel_build`, `runtimes`, `disks`  the functions that make images
* `catalogue`    all images by name
* `builder`      builds an image from recipe, lock and cache
* `archive`, `transfer`  one file with the images of a store, and its use at another path
* `agent/`, `hello/`, `shim/`  C sources and programs of the images
"""
