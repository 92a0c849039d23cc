"""Boots, inspects and stops each type of guest.

* `base`             the protocol of a guest, what it is given, what it can do
* `native` `container` `qemu_user`   guests on the kernel of the host
* `virtual_machine`  guests with a kernel of their own; their hypervisors are `uml` and `qemu`
* `vm_process`       the process of a hypervisor: console, connection, end
* `host_probe` `kvm_probe` `doctor`  what this host allows: measured, not assumed
* `limit_support`    which limits a guest supports
* `catalogue`        all guests by name
"""
