"""Hosts of every kind, made of Debian's packages: README's commands from nothing, in each of them."""
