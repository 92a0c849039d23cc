"""A cell of a run that was, with all that it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from foothold_lab.harness import subjects
from foothold_lab.harness.guests.catalogue import catalogue, find_guest
from foothold_lab.harness.guests.custom_kernels import CustomKernels
from foothold_lab.harness.guests.uml import SEED
from foothold_lab.harness.guests.vm_process import IMAGE_LIST
from foothold_lab.harness.model.cells import Cell
from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.escape import escape_shell
from foothold_lab.harness.model.secret_values import unmask_environment
from foothold_lab.harness.model.ssh_address import SshAddress, is_ssh_address, split_machine
from foothold_lab.harness.model.verdict import Verdict
from foothold_lab.harness.results_db import reader
from foothold_lab.harness.results_db.database import Database
from foothold_lab.harness.results_db.models import StoredBoot
from foothold_lab.harness.run_directory import DAMAGED, RunFiles, read_head
from foothold_lab.harness.subjects.subject import Subject
from foothold_lab.images.builder import Builder
from foothold_lab.images.errors import ImageError

# files of a share that belong to one boot
_OF_THE_BOOT = ("hostkey", "authorized_keys", SEED, IMAGE_LIST)


@dataclass(frozen=True, kw_only=True)
class RecordedCell:
    """What was asked, of whom, in which guest, and what it came to."""

    run: str
    directory: Path
    cell: Cell
    subject: Subject
    boot: StoredBoot
    traced: bool
    verdict: Verdict

    @property
    def boot_files(self) -> RunFiles:
        """What was kept of the boot."""
        return RunFiles(self.directory, f"guests/{self.boot.name}")

    @property
    def evidence_files(self) -> RunFiles:
        """What was kept of the cell."""
        return RunFiles(self.directory, f"cells/{self.cell.id}")

    def check_isolation(self, *, bundle: bool = False) -> None:
        """Raise UsageError if the cell needs trust in the source of its run directory.

        It does if something that the directory names would run on this machine without isolation,
        or would see this machine's files. The script of a `bundle` runs what the directory names.
        """
        guest = self.cell.guest
        reason = ""
        if guest == "native" or guest.startswith("qemu-user-"):
            reason = f"its program runs on this machine, without isolation, in the guest {guest}"
        elif is_ssh_address(guest) or self.machines:
            reason = f"its program runs on the machine {self.machines.get(guest, guest)}"
        elif self.cell.where:
            reason = f"it names a kernel or its parameters: {escape_shell(self.cell.where)}"
        elif self.subject.root == "host":
            reason = "its program sees the files of this machine"
        elif bundle:
            reason = "the script of a bundle runs the command line that the run directory names"
        if reason:
            raise UsageError(
                f"{self.run} is not in your history, and {reason}",
                "add --trust if you trust the source of this run directory",
            )

    def with_secrets(self) -> RecordedCell:
        """Return the cell with the values of its environment that were not recorded.

        Raises UsageError if this process does not have them in its environment.
        """
        environment = unmask_environment(self.subject.environment)
        return replace(self, subject=replace(self.subject, environment=environment))

    @property
    def custom_kernels(self) -> CustomKernels:
        """The kernels of the user's own. Raises UsageError if they are not what they were."""
        for path, known in self.boot.images.items():
            if path.startswith("/") and subjects.hash_of(Path(path)) != known:
                raise UsageError(
                    f"{path} is gone, or another file than it was in {self.run}",
                    "put back the one of then, or run the cell anew with today's",
                )
        return CustomKernels.from_arguments(self.cell.where)

    @property
    def machines(self) -> Mapping[str, SshAddress]:
        """The machine of its guest, if it is one that is reached by SSH and has a name."""
        found = map(split_machine, self.cell.where)
        return dict(each for each in found if each)

    def pin_images(self, builder: Builder) -> None:
        """Let a builder hand out the images of then. Raises UsageError, naming what is gone."""
        gone = []
        for name, directory in self.boot.images.items():
            try:
                if not name.startswith("/"):
                    builder.pin(name, directory)
            except ImageError:
                gone.append(directory)
        if gone:
            raise UsageError(
                f"the cache no longer has {', '.join(gone)}, of which {self.boot.guest} was made",
                f"run the cell with the images of today: {escape_shell(self.cell.command)}",
            )

    def check_guest(self, builder: Builder) -> None:
        """Raise UsageError if this Foothold does not have the guest that the run directory names."""
        try:
            find_guest(catalogue(builder, self.custom_kernels), self.cell.guest, self.machines)
        except UsageError as error:
            raise UsageError(
                f"{self.run} names the guest {self.cell.guest}, which this Foothold does not have",
                DAMAGED,
            ) from error

    def copy_share(self, target: Path) -> Path:
        """Copy the files that the guest was given then, without the keys of that boot.

        Raises UsageError if they cannot be read.
        """
        try:
            self.boot_files.beneath("share").copy_tree(
                target, leave_out=_OF_THE_BOOT, links_below=subjects.PLACE
            )
        except OSError as error:
            raise UsageError(
                f"the share of {self.boot.guest} cannot be copied: {error}", DAMAGED
            ) from error
        return target


def find(database: Database, run: str, cell: str) -> RecordedCell:
    """Find a cell of a run, each by the words that `foothold show` takes. Raises UsageError."""
    kept = reader.find(database, run)
    one = kept.cell(cell)
    verdict = kept.verdict(one)
    boot = next((each for each in kept.boots if each.id == one.boot), None)
    if verdict is None or boot is None or not boot.argv:
        raise UsageError(
            f"{one.name} of {kept.run.name} never came to run: its guest did not boot",
            f"`{escape_shell(('foothold', 'show', kept.run.name, one.name))}` says why",
        )
    moved = Path(run).absolute()  # a run may have been brought here from elsewhere
    directory = moved if (moved / "run.json").is_file() else Path(kept.run.directory)
    started = read_head(directory).started
    asked = next((each for each in started.cells if each.id == one.name), None) if started else None
    if started is None or asked is None:
        raise UsageError(f"{directory / 'run.json'} does not have the cell {one.name}", DAMAGED)
    known = subjects.read_deployed(RunFiles(directory, f"guests/{boot.name}"))
    if asked.subject not in known:
        raise UsageError(f"{directory} does not have the subject {asked.subject!r}", DAMAGED)
    return RecordedCell(
        run=kept.run.name,
        directory=directory,
        # what the cell was compared with is in its verdict
        cell=replace(asked, expected=verdict.expected or asked.expected),
        subject=known[asked.subject],
        boot=boot,
        traced=started.trace,
        verdict=verdict,
    )


def is_own(database: Database, directory: Path) -> bool:
    """Did a process of this user run the cells of the directory? Their history knows it then.

    A run that `foothold history import` read from a directory has no process.
    """
    known = "SELECT 1 FROM runs WHERE directory = ? AND process != ''"
    return bool(database.value(known, str(directory)))
