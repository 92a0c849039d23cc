"""What is in a container of a guest `docker:IMAGE` or `podman:IMAGE`: the image of the user.

The container has what `docker run` or `podman run` gives it by default: the seccomp profile and the capabilities of
the engine, the user of the image, no limits; but no network. The agent is a static program and its
own tracer, so nothing of the image is needed. Its directory is mounted at a path that no image has.
"""

from __future__ import annotations

import contextlib
import itertools
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foothold_lab.harness.guests.accounts import Account, find_account
from foothold_lab.harness.guests.base import (
    HOST_DIRECTORY,
    HOST_LIMITS,
    LEAVE_ROOT,
    NO_HOST_ROOT,
    Capabilities,
    GuestConfig,
    GuestPaths,
    Support,
)
from foothold_lab.harness.guests.container_archive import (
    in_new_directory,
    read_file,
    tar_of_tree,
)
from foothold_lab.harness.guests.container_engine import ENGINES
from foothold_lab.harness.model.container_name import ContainerName
from foothold_lab.harness.model.errors import UnsupportedError
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.record import Supervision
from foothold_lab.harness.transport.supervised import OWN_TRACER

CAPABILITIES = Capabilities(
    own_kernel=False, shares_live=True, tracer="agent", unsupported_limits=HOST_LIMITS
)
_PLACE = "/.foothold"
_AGENT = f"{_PLACE}/agent/agent"
_WORK = f"{_PLACE}/work"  # with a working directory for each run
# architectures of images, as Go names them, whose programs the kernel of a machine runs
_ARCHITECTURES = {"x86_64": ("amd64", "386"), "aarch64": ("arm64", "arm")}


@dataclass(frozen=True)
class _Found:
    """What the engine says of the image."""

    image: Any
    support: Support


class UserImage:
    """The image of the user. `supported` and `prepare` look for it in the engine."""

    capabilities = CAPABILITIES

    def __init__(self, name: ContainerName, config: GuestConfig) -> None:
        self._engine = ENGINES[name.engine]
        self.config = config
        self.paths = GuestPaths(
            share=f"{_PLACE}/share", python="", agent=_AGENT, placement="copied"
        )
        self._name = name
        self._image_id = self._user = ""
        self._directories = itertools.count(1)

    def supported(self, client: Any) -> Support:
        """Look for the image, its digest, its architecture, and the runtime."""
        if self.config.root == "host":
            return Support(False, NO_HOST_ROOT, LEAVE_ROOT)
        if not (support := self._runtime(client)).ok:
            return support
        found = self._find(client)
        return Support(True) if found.image is None and self.config.pull else found.support

    def prepare(self, client: Any) -> Mapping[str, str]:
        """Find the image. With --pull, the engine downloads one that it does not have.

        Raises UnsupportedError if the image cannot be used.
        """
        found = self._find(client)
        if found.image is None and self.config.pull:
            self._pull(client)
            found = self._find(client)
        if not found.support.ok:
            raise UnsupportedError(found.support.reason, found.support.remedy)
        made_of = found.image.attrs["Config"]
        self._image_id = found.image.id
        self._user = made_of.get("User") or "0"
        self.paths = replace(
            self.paths,
            start_directory=made_of.get("WorkingDir") or "/",
            entrypoint=tuple(made_of.get("Entrypoint") or ()),
            arguments=tuple(made_of.get("Cmd") or ()),
        )
        return {"image": f"{self._name.image}@{found.image.id}"}

    def create(self, client: Any, overlay: str, settings: Mapping[str, Any]) -> Any:
        """Create a container with agent and share. See `Contents.create`."""
        import docker

        shown = {
            f"{_PLACE}/agent": self.config.builder.image("agent"),
            self.paths.share: self.config.share.absolute(),
        }
        if self.config.host_directory:
            shown[HOST_DIRECTORY] = self.config.host_directory
        mounts = [
            docker.types.Mount(place, str(path), type="bind", read_only=True)
            for place, path in shown.items()
        ]
        if overlay and self._name.read_only:
            raise UnsupportedError(
                "the root of the container is read-only, so the files of a program cannot be put "
                "into it",
                "leave +read-only out, or run a program of the image: --subject guest:/PATH",
                code=Code.UNSUPPORTED_SUBJECT,
            )
        # a volume can be written even if the root cannot, and is removed with the container
        mounts.append(docker.types.Mount(_WORK, None, type="volume"))
        return client.containers.create(
            self._image_id, entrypoint=[_AGENT, "idle"], read_only=self._name.read_only,
            runtime=self._name.runtime or None, healthcheck={"test": ["NONE"]},
            **{**settings, "mounts": [*settings["mounts"], *mounts]},
        )  # fmt: skip

    def fill(self, container: Any, overlay: str) -> None:
        """Copy the files of a subject to their own paths."""
        if overlay:
            container.put_archive("/", tar_of_tree(self._of_share(overlay)))

    def finish(self, _: Any, __: str) -> str:
        """Return the tracer: the agent itself."""
        return OWN_TRACER

    def place(self, container: Any, how: Supervision) -> tuple[str, Supervision]:
        """Return the user of the engine's exec, and how the agent starts a program as that user."""
        placed = replace(how, overlay="", own_root=False, user="")
        if how.fresh_directory:
            work = f"{_WORK}/{next(self._directories)}"
            files = self._of_share(how.work_files) if how.work_files else None
            account = _account(container, how.user or self._user)
            placed = in_new_directory(container, placed, work, account, files)
        return how.user, placed

    def _of_share(self, path: str) -> Path:
        return self.config.share / path.removeprefix(f"{self.paths.share}/")

    def _runtime(self, client: Any) -> Support:
        name = self._name.runtime
        if name and self._engine.other_runtime:
            return Support(
                False,
                f"{self._engine.title} cannot be asked for a runtime by this socket",
                self._engine.other_runtime.format(name),
            )
        runtimes = client.info().get("Runtimes", {}) if name else {}
        if not name or name in runtimes:
            return Support(True)
        return Support(
            False,
            f"{self._engine.title} has no runtime {name!r}, only {', '.join(runtimes)}",
            f"name one of these, or add it to the engine: `dockerd --add-runtime {name}=PATH`",
        )

    def _find(self, client: Any) -> _Found:
        from docker.errors import ImageNotFound

        name = self._name
        with contextlib.suppress(ImageNotFound):
            image = client.images.get(name.reference)
            return _Found(image, self._architecture(image))
        with contextlib.suppress(ImageNotFound):
            return self._with_digest(client.images.get(name.image))
        remedy = f"`{name.engine} pull {name.reference}`, or let Foothold do it: --pull"
        return _Found(
            None, Support(False, f"{self._engine.title} has no image {name.reference}", remedy)
        )

    def _with_digest(self, image: Any) -> _Found:
        """Return an image that the engine has, if the digest of the name is its ID."""
        name = self._name
        if image.id == name.digest:
            return _Found(image, self._architecture(image))
        digests = [each.rpartition("@")[2] for each in image.attrs.get("RepoDigests") or ()]
        return _Found(
            None,
            Support(
                False,
                f"the image {name.image} of {self._engine.title} has another digest than {name.digest}",
                f"give one of its own: {', '.join((*digests, image.id))}; or "
                f"`{name.engine} pull {name.reference}`, or --pull",
            ),
        )

    def _architecture(self, image: Any) -> Support:
        runnable = _ARCHITECTURES.get(platform.machine(), (platform.machine(),))
        found = image.attrs.get("Architecture") or "an unknown architecture"
        if found in runnable and image.attrs.get("Os") == "linux":
            return Support(True)
        ours = f"linux/{runnable[0]}"
        return Support(
            False,
            f"the image {self._name.image} is for {image.attrs.get('Os')}/{found}, and this machine "
            f"runs {ours}",
            f"`{self._name.engine} pull --platform {ours} {self._name.image}`",
        )

    def _pull(self, client: Any) -> None:
        from docker.errors import APIError

        name = self._name
        tag = name.digest or name.tag or "latest"
        try:
            # an error may come after the answer has begun
            for step in client.api.pull(name.repository, tag=tag, stream=True, decode=True):
                if error := step.get("error"):
                    raise APIError(error, explanation=error)
        except APIError as error:
            raise UnsupportedError(
                f"{self._engine.title} cannot download {name.reference}: {error.explanation}",
                f"check its name, and `{name.engine} login` if its registry asks for a user",
            ) from error


def _account(container: Any, user: str) -> Account:
    """Return the owner of the working directory of a user, `USER[:GROUP]` as in an image.

    Raises UsageError for a name that the image does not have.
    """
    from docker.errors import NotFound

    passwd = b""
    with contextlib.suppress(NotFound):
        passwd = read_file(container, "/etc/passwd")
    return find_account(passwd.decode(errors="replace"), user.partition(":")[0])
