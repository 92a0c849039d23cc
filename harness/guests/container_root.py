"""What is in a container of the guests `docker` and `podman`: the root file system of UML and QEMU.

A subject that brings files gets a container of its own, in which its files lie at their own paths:
they may replace libraries of the root file system, on which other programs depend.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from foothold_lab.harness.guests.accounts import Account, find_account
from foothold_lab.harness.guests.base import (
    AGENT,
    HOST_DIRECTORY,
    HOST_LIMITS,
    LEAVE_ROOT,
    NO_HOST_ROOT,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
    image_support,
)
from foothold_lab.harness.guests.container_archive import directory_for, in_new_directory, tar_of
from foothold_lab.harness.guests.vm_process import STRACE
from foothold_lab.harness.model.errors import GuestError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Supervision

CAPABILITIES = Capabilities(own_kernel=False, unsupported_limits=HOST_LIMITS)
REPOSITORY = "foothold-root"
_WORK = "/run/work"  # with a working directory for each run
_TOOLS = "/run/tools"  # the tracer with its libraries, where no file of a subject replaces them
_STRACE = f"{_TOOLS}/trace"
_COPY_TOOLS = f"""
set -e
mkdir {_TOOLS}
cp -a -L "$(readlink -f /lib64/ld-linux-x86-64.so.2)" {_TOOLS}/ld.so
cp -a /lib/*/*.so.* /bin/busybox {STRACE} {_TOOLS}
echo '#!{_TOOLS}/busybox sh
exec {_TOOLS}/ld.so --library-path {_TOOLS} {_TOOLS}/strace "$@"' > {_STRACE}
chmod 755 {_STRACE}
"""


class FootholdRoot:
    """Our root file system, imported into the engine once: no capabilities, no new privileges."""

    capabilities = CAPABILITIES
    paths = GuestPaths(placement="copied")

    def __init__(self, config: GuestConfig) -> None:
        self.config = config
        self._directories = itertools.count(1)

    def supported(self, _: Any) -> Support:
        """It needs the root file system, or what it takes to build it."""
        if self.config.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        return image_support(self.config.builder, ("root",))

    def prepare(self, client: Any) -> Mapping[str, str]:
        """Import the root file system if the engine does not have it yet."""
        from docker.errors import ImageNotFound

        root = self.config.builder.image("root")
        tag = root.name.rpartition("-")[2]
        self._image = f"{REPOSITORY}:{tag}"
        try:
            client.images.get(self._image)
        except ImageNotFound:
            # named afterwards: Podman ignores the tag of an import
            answer = client.api.import_image_from_data(tar_of(root, "."))
            client.api.tag(json.loads(answer)["status"], REPOSITORY, tag)
        return {"image": self._image, "root": root.name}

    def create(self, client: Any, _: str, settings: Mapping[str, Any]) -> Any:
        """Create a container."""
        import docker

        settings = {
            **settings, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"],
            "tmpfs": {"/tmp": "mode=1777,exec"},
        }  # fmt: skip
        if directory := self.config.host_directory:
            mount = docker.types.Mount(HOST_DIRECTORY, str(directory), type="bind", read_only=True)
            settings["mounts"] = [*settings["mounts"], mount]
        return client.containers.create(self._image, [AGENT, "idle"], **settings)

    def fill(self, container: Any, _: str) -> None:
        """Copy the share, and make the directories that a subject may write.

        One archive: for each the engine mounts the file system of the container, 40 ms.
        """
        writable = dict.fromkeys((_WORK, "/var/tmp"), 0o1777)
        container.put_archive("/", tar_of(self.config.share, "share", writable))

    def finish(self, container: Any, overlay: str) -> str:
        """Copy the files of a subject to their own paths. Return the path of the tracer."""
        if not overlay:
            return STRACE
        _execute(container, "/bin/busybox", "sh", "-c", _COPY_TOOLS)
        # not by an archive of the engine: it would miss the file system on /tmp
        _execute(container, "/bin/busybox", "cp", "-a", "-f", f"{overlay}/.", "/")
        # existing directories got the modes of those of the subject
        _execute(container, "/bin/busybox", "chmod", "1777", "/tmp", "/var/tmp")
        return _STRACE

    def place(self, container: Any, how: Supervision) -> tuple[str, Supervision]:
        """Return the user of the engine's exec, and how the agent is to start a program as that user.

        The agent itself has no right to change the user, so the engine makes its directories.
        """
        account, user, environment = Account(0, 0), "", dict(how.environment)
        if how.user:
            passwd = self._of_share(how.overlay, "etc/passwd").read_text(errors="replace")
            account = find_account(passwd, how.user)
            user = f"{account.uid}:{account.gid}"
        if account.name:
            names = {"HOME": account.home, "USER": account.name, "LOGNAME": account.name}
            environment = names | environment
            code, _ = container.exec_run(["/bin/busybox", "test", "-e", account.home])
            if code:
                container.put_archive("/", directory_for(account, account.home, 0o700))
        how = replace(how, overlay="", own_root=False, user="", environment=environment)
        if not how.fresh_directory:
            return user, how
        work = f"{_WORK}/{next(self._directories)}"
        files = self._of_share(how.work_files) if how.work_files else None
        return user, in_new_directory(container, how, work, account, files)

    def _of_share(self, path: str, name: str = "") -> Path:
        """Return the path on this machine of a path below the share of the container.

        `name` is a file below that path. If the share does not have it, return that of the image.
        """
        place = self.config.share / path.removeprefix(f"{self.paths.share}/") / name
        if name and not (path and place.is_file()):
            return self.config.builder.image("root") / name
        return place


def _execute(container: Any, *argv: str) -> None:
    """Run a program of the root file system. Raises GuestError if it fails."""
    code, output = container.exec_run(list(argv))
    if code:
        why = output.decode(errors="replace").strip()
        what = f"the files of the subject cannot be copied: {why}"
        raise GuestError(what, code=Code.GUEST_FILES)
