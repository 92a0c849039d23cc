"""Findings, and the stable code of each: programs and people rely on the code, not on the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Code(StrEnum):
    """What kind of finding it is: `family/name`. The table of all codes is this class.

    `meaning` says what the finding states, `action` what a user can do about it. A code that a
    release contains keeps its meaning in later ones.
    """

    meaning: str
    action: str

    def __new__(cls, value: str, meaning: str = "", action: str = "") -> Self:
        """Make a member; `Code("plan/expectation")` looks one up."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.action = action
        return member

    @property
    def family(self) -> str:
        """The part before the slash. Of an error, it is the blame."""
        return self.value.partition("/")[0]

    PLAN_EXPECTATION = (
        "plan/expectation",
        "The subject did not do what the plan, or `--expect`, expects.",
        "Read what was observed and the evidence below it. If the new behaviour is right, change "
        "the expectation in the plan.",
    )
    PLAN_STDOUT = (
        "plan/stdout",
        "The standard output of the subject is not that of the file which the plan, or `--expect`, "
        "names.",
        "Compare the file `stdout` in the directory of the cell with the expected one, from the line "
        "that the finding names.",
    )
    PLAN_SAME_OUTPUT = (
        "plan/same-output",
        "The subject printed something else than in the guest that `same-output-as` names, or ended "
        "in another way.",
        "Compare the files `stdout` and `ending.json` in the directories of both cells. A program "
        "that prints addresses, times or process ids never prints the same twice.",
    )
    PLAN_PREDICTION = (
        "plan/prediction",
        "The plan expects something else than the oracle predicts from the facts of the guest.",
        "Compare the plan with the facts (`foothold facts GUEST`, `foothold predict`). The plan or "
        "the oracle is wrong, independent of what the subject did.",
    )
    PLAN_NOTHING_EXPECTED = (
        "plan/nothing-expected",
        "Neither the plan nor the oracle says what must happen, so the cell cannot pass.",
        "Give an expectation with `--expect` or `expect` in the plan; `anything` accepts all.",
    )
    ORACLE_PATH = (
        "oracle/path",
        "The reservation went another way than the oracle predicts from the facts of the guest.",
        "Read the evidence of the maps. Compare the facts of the guest with those of the last run "
        "that passed (`foothold compare`): the subject, the kernel or the oracle has changed.",
    )
    ORACLE_OUTCOME = (
        "oracle/outcome",
        "The path is as predicted, but the outcome, status or message is another than the oracle "
        "predicts.",
        "Read the message of the subject and the last lines of its output.",
    )
    CONFORMANCE_DIFFERS = (
        "conformance/differs",
        "A probe measured something else than the ABI demands, and no known difference says so.",
        "Read what the ABI demands and what was measured. Run the probe natively: if it differs there "
        "too, the probe is wrong. Else the kernel is: report it, and add it to "
        "harness/conformance/differences.toml.",
    )
    CONFORMANCE_REPAIRED = (
        "conformance/repaired",
        "A probe conforms, and a known difference says that it does not on this kernel.",
        "The kernel was repaired: give the entry of harness/conformance/differences.toml the version "
        "as its `before`.",
    )
    CONFORMANCE_GUEST_KILLED = (
        "conformance/guest-killed",
        "The guest died or hung while a probe ran, and no known difference says so.",
        "Read console.log of the guest. The finding names the probe: run it alone with `--probe`. The probes "
        "of its group that follow it by name were not asked, those of other groups were.",
    )
    CONFORMANCE_INCOMPLETE = (
        "conformance/incomplete",
        "The program that runs the probes ended before it had answered all of them.",
        "Read stdout and stderr in the directory of the cell.",
    )
    CONFORMANCE_KNOWN = (
        "conformance/known",
        "A probe differs as a known difference says. The cell passes; its evidence names the probe.",
        "Nothing. docs/uml-differences.md describes the difference.",
    )
    REPORT_VS_CELL = (
        "crosscheck/report-vs-cell",
        "The report of the subject names another process, kernel, pointer size, policy or workload "
        "than the cell ran.",
        "Check which program ran, and with which arguments: `command` and the facts of the guest.",
    )
    REPORT_VS_CHECKPOINTS = (
        "crosscheck/report-vs-checkpoints",
        "The report names other checkpoints than those at which the agent read the maps.",
        "Compare stdout.jsonl with the maps-* files in the run directory. The subject must stop at "
        "each checkpoint until it reads a line from standard input.",
    )
    REPORT_VS_MAPS = (
        "crosscheck/report-vs-maps",
        "The report claims a path, an address or a heap that /proc/PID/maps does not show.",
        "Compare stdout.jsonl with the maps-* files in the run directory. The subject reports "
        "wrongly, unless the policy makes arenas that Foothold does not know.",
    )
    REPORT_VS_TRACE = (
        "crosscheck/report-vs-trace",
        "The report and the trace list different mapping calls.",
        "Compare stdout.jsonl with the trace (`strace`) in the run directory.",
    )
    REPORT_VS_ENDING = (
        "crosscheck/report-vs-ending",
        "The report says that the subject ended in another way than the agent saw.",
        "Compare the end of stdout.jsonl with ending.json and stderr in the run directory.",
    )
    MAPS_VS_TRACE = (
        "crosscheck/maps-vs-trace",
        "The trace of mapping calls and /proc/PID/maps do not show the same mappings.",
        "Find the named range in the trace and in the maps-* file. A system call that Foothold "
        "does not follow, or an emulator or kernel that answers wrongly, is the usual cause: "
        "report it with the run directory.",
    )
    TRACE_VS_ENDING = (
        "crosscheck/trace-vs-ending",
        "The trace says that the subject ended in another way than the agent saw.",
        "Compare the end of the trace with ending.json in the run directory; report it.",
    )
    REPORT_MALFORMED = (
        "evidence/report-malformed",
        "A line of the report of the subject is not valid, or comes out of order.",
        "Look at the named line of stdout.jsonl. Only the report may go to standard output.",
    )
    REPORT_INCONSISTENT = (
        "evidence/report-inconsistent",
        "Two numbers in the report of the subject contradict each other.",
        "Look at stdout.jsonl: the subject reports wrongly.",
    )
    MAPS_UNREADABLE = (
        "evidence/maps-unreadable",
        "A maps-* file is not what the kernel would write, or is too long.",
        "Look at the named line of the file in the run directory. If the kernel wrote it, report "
        "it.",
    )
    TRACE_UNREADABLE = (
        "evidence/trace-unreadable",
        "The trace has lines that the tracer does not write, or calls with arguments that make no "
        "sense.",
        "Look at the quoted line in the trace. A new version of strace may write it differently: "
        "report it. `--no-trace` runs the cell without a trace.",
    )
    TRACE_INCOMPLETE = (
        "evidence/trace-incomplete",
        "The trace does not show the start or the end of the subject.",
        "Look at the end of the trace and at what strace itself said. The tracer was killed, or "
        "something else wrote the trace.",
    )
    BEYOND_TASK_SIZE = (
        "evidence/beyond-task-size",
        "A witness shows memory above the highest address that a program can have in this guest.",
        "The address space of the guest was measured at its boot (`foothold facts GUEST`). The witness "
        "that is named is wrong, or was forged: compare it with the others in the run directory.",
    )
    TRACE_AFTER_END = (
        "evidence/trace-after-end",
        "The trace shows calls of a process after its end.",
        "Look at the end of the trace. Something else than the tracer has written into it.",
    )
    LOG_TOUCHED = (
        "evidence/emulator-log-touched",
        "A program under qemu-user could change the log of the emulator, which is open in the same "
        "process: it used its descriptor, opened the memory of a process, or executed a program (which "
        "runs without the emulator) before the log shows a mapping.",
        "Do not trust the log. Run the program in a QEMU guest of the same machine instead.",
    )
    OUTPUT_TRUNCATED = (
        "evidence/output-truncated",
        "The subject wrote more than Foothold keeps.",
        "Let the subject print less; for a trace, run a shorter workload.",
    )
    SUBJECT_FAILED = (
        "subject/failed",
        "The subject misbehaved so that it cannot be judged.",
        "Read its output in the run directory.",
    )
    SUBJECT_MEMORY = (
        "subject/memory-corrupted",
        "The subject read back other bytes from its memory than it had written.",
        "The kernel, the emulator or the subject damages memory. Run the cell again natively and "
        "in another guest.",
    )
    SUBJECT_NOT_STARTED = (
        "subject/not-started",
        "The kernel of the guest refused to execute the subject.",
        "Read the reason. Check that the file is executable, is for the machine of the guest, and "
        "that its interpreter and libraries are there.",
    )
    SUBJECT_MISSING_FILE = (
        "subject/missing-file",
        "The subject died after it looked in vain for a file that this machine has and the guest "
        "lacks.",
        "Give the file with `--file PATH` (`files` in the plan), or run the subject on the root of "
        "this machine with `--root host`. If the subject does not need the file, look for another "
        "cause: the evidence lists the file because it was the last one not found.",
    )
    SUBJECT_DEADLINE = (
        "subject/deadline",
        "The subject was still running at the deadline of the cell and was killed, or its trace was too "
        "long to be judged.",
        "Find out what it waits for. If it only needs longer, raise `deadline`.",
    )
    SUBJECT_FORGED = (
        "subject/forged-evidence",
        "Bytes that the agent did not write came on its line to the harness: the subject has written "
        "them. Frames of the agent carry a seal that the subject cannot make.",
        "Do not trust the subject. Its cell has no verdict, and its guest is not used again.",
    )
    GUEST_KILLED = (
        "guest/killed",
        "A program in the guest killed or stopped a process that connects the guest to the harness or that "
        "traces it, or used their line. Nothing else than the subject runs there: it did, such as by `kill -9 -1`.",
        "Run the subject as another user (`--user`), or find out why it kills what is not its own.",
    )
    GUEST_CHANGED = (
        "guest/changed",
        "A cell changed its guest in a way that outlives it: a sysctl, a file, the clock. The guest is "
        "replaced by a fresh one; a note of this cell and of the next one says so.",
        "Read in the note what was changed. If the subject must do so, run it in a guest of its own "
        "(`--boot-per-cell`).",
    )
    GUEST_FAILED = (
        "guest/failed",
        "The guest failed in a way that has no code of its own.",
        "Read the message and the console of the guest.",
    )
    GUEST_PANIC = (
        "guest/panic",
        "The kernel of the guest panicked, or reported a bug or an oops.",
        "Read console.log of the guest in the run directory. If it happens again, the cell "
        "reproduces a bug of that kernel.",
    )
    GUEST_PANIC_FORGED = (
        "guest/forged-panic",
        "The console shows a kernel panic, but the kernel went on, or was stopped by reboot(2): a program in the "
        "guest wrote the message. Root of a guest can write to /dev/kmsg and to the console.",
        "Run the subject as another user (`--user`). A kernel of your own must be booted with `panic=-1`.",
    )
    GUEST_BOOT = (
        "guest/boot",
        "The guest did not become ready: it was silent, ended, or sent something else than the "
        "agent sends.",
        "Read console.log and command.json of the guest in the run directory. A custom kernel "
        "needs the drivers that docs/guests.md names.",
    )
    GUEST_KERNEL_WARNING = (
        "guest/kernel-warning",
        "The kernel of the guest reported a bug, a warning or an oops while the subject ran.",
        "Read console.log of the guest. The cell reproduces a fault of that kernel; the guest is not "
        "used for further cells.",
    )
    GUEST_TAINT = (
        "guest/taint",
        "The kernel was tainted while the subject ran (/proc/sys/kernel/tainted has changed).",
        "Read console.log of the guest, and Documentation/admin-guide/tainted-kernels.rst for the "
        "bits. The guest is not used for further cells.",
    )
    GUEST_DIED = (
        "guest/died",
        "The guest, or its agent, ended while a subject ran or waited in it.",
        "Read console.log of the guest. Look in the log of the host whether its memory ran out.",
    )
    GUEST_NOT_STARTED = (
        "guest/not-started",
        "The agent of the guest did not start the program before the deadline of the cell. Nothing is known "
        "of the subject.",
        "The machine was too busy, or the guest hangs: run the cell again, with fewer jobs at once (`--jobs`), or "
        "raise `deadline`.",
    )
    GUEST_CONSOLE = (
        "guest/console-flood",
        "The guest printed more on its console than Foothold records, and was ended.",
        "Read the beginning of console.log. Boot the kernel with `quiet` or a lower loglevel.",
    )
    GUEST_PROTOCOL = (
        "guest/protocol",
        "The guest answered, but not as the agent of this version does.",
        "Use the images that this version of Foothold builds.",
    )
    GUEST_LOGIN = (
        "guest/login",
        "The SSH server of the guest did not answer, or did not accept the key of this run.",
        "Check that the root file system has dropbear. With a wrong host key, do not trust the "
        "guest.",
    )
    GUEST_FILES = (
        "guest/files",
        "A file could not be copied or mounted into the guest, or out of it.",
        "Check the named file, its permissions, and the free space of the guest.",
    )
    GUEST_SNAPSHOT = (
        "guest/snapshot",
        "QEMU could not save or restore the state of the guest.",
        "Remove the snapshot with `foothold images prune`; `--boot-per-cell` boots without it.",
    )
    INFRASTRUCTURE_FAILED = (
        "infrastructure/failed",
        "Foothold itself failed in a way that has no code of its own.",
        "Read the message. If it names no cause, report it with the run directory.",
    )
    INFRASTRUCTURE_IMAGE = (
        "infrastructure/image",
        "A kernel, root file system or tool could not be downloaded or built.",
        "Read the message: the network, the apt configuration, the disk or a compiler is missing. "
        "`foothold images build` repeats it.",
    )
    INFRASTRUCTURE_HOST = (
        "infrastructure/host",
        "The operating system of this machine refused something that a run needs.",
        "Read the message: a file, a permission, memory or disk space is missing. `foothold "
        "doctor` checks this machine.",
    )
    INFRASTRUCTURE_TRACER = (
        "infrastructure/tracer",
        "The tracer could not start or attach to the subject.",
        "Check that ptrace is allowed here (`foothold doctor`); `--no-trace` runs without it.",
    )
    INFRASTRUCTURE_HISTORY = (
        "infrastructure/history",
        "The history database could not be opened, read or written.",
        "Read the message; `--history` or FOOTHOLD_HISTORY names another file.",
    )
    INFRASTRUCTURE_OUTPUT = (
        "infrastructure/output",
        "A file that the user asked for could not be written.",
        "Give another path, or make space.",
    )
    INFRASTRUCTURE_CONNECTION = (
        "infrastructure/connection",
        "The SSH connection to a machine could not be made, or broke. Nothing is known of the subject.",
        "Log in there with `ssh` as the same user: it must work without a question. Then repeat the "
        "cell.",
    )
    INFRASTRUCTURE_STOPPED = (
        "infrastructure/stopped",
        "The run was ended before the cell had a verdict.",
        "Run it again.",
    )
    INFRASTRUCTURE_MISSING = (
        "infrastructure/missing",
        "The shard of this cell is not among the merged runs, or ended before the cell had a verdict.",
        "Read the log of the shard's job, run the shard again, and merge again.",
    )
    INFRASTRUCTURE_WORKER = (
        "infrastructure/worker",
        "A worker of the cluster was lost while it ran the cell, or none is left that can run it.",
        "Read the message and the log of that worker. Start it again with `foothold worker`, and "
        "repeat the cell.",
    )
    USAGE_ERROR = (
        "usage/error",
        "The command line, the plan or a file that it names makes no sense.",
        "Read the message and its remedy; `foothold COMMAND --help` lists the options.",
    )
    UNSUPPORTED_GUEST = (
        "unsupported/guest",
        "This machine cannot boot the guest.",
        "Install what the remedy names; `foothold doctor` checks all guests.",
    )
    UNSUPPORTED_LIMIT = (
        "unsupported/limit",
        "The guest cannot apply a limit of the cell.",
        "Run the cell in a guest that the remedy names, or without the limit.",
    )
    UNSUPPORTED_SUBJECT = (
        "unsupported/subject",
        "The guest cannot run the subject: it is for another machine, or lacks an interpreter or a "
        "library.",
        "Choose another guest, or give what is missing as the remedy says.",
    )
    UNSUPPORTED_POLICY = (
        "unsupported/policy",
        "The policy does not exist for the pointer size of the guest.",
        "Choose a guest of 64 bits, or another policy.",
    )
    UNSUPPORTED_PREDICTION = (
        "unsupported/prediction",
        "The plan expects nothing and the oracle cannot predict the verdict from the facts.",
        "Say in the plan what is expected, or change the limit as the remedy says.",
    )
    UNSUPPORTED_TOOL = (
        "unsupported/tool",
        "The command needs a program that this machine does not have.",
        "Install it as the remedy says.",
    )
    UNSUPPORTED_EXPORT = (
        "unsupported/export",
        "The cell cannot be written into a tarball that runs by itself.",
        "Run it in a UML or QEMU guest, on the root file system of the image.",
    )
    HISTORY_NO_CODE = (
        "history/no-code",
        "The history recorded this finding before findings had codes.",
        "Read its text.",
    )


@dataclass(frozen=True)
class Finding:
    """One disagreement or failure: its stable code, and the facts of this case in plain words.

    Raises ValueError for a code that does not exist.
    """

    code: Code
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "code", Code(self.code))

    def __str__(self) -> str:
        return f"{self.text} [{self.code}]"


_HEAD = """\
# The findings

<!-- made by `./foothold findings --markdown`: change harness/model/findings.py instead -->

A finding says what is wrong with a cell: two of observation, prediction and plan disagree, two
witnesses disagree, or guest, subject or laboratory failed. Each finding has a text, which may
change from version to version, and a code, which does not. The code is in the
[JSON document](result-schema.md), in JUnit's `type`, in the titles of GitHub's annotations, in
`verdict.json` of the run directory, in the HTML report and in the history. `foothold findings CODE`
explains one of them.
"""
_FAMILIES = {
    "plan": "What was observed or predicted is not what the plan expects",
    "oracle": "What was observed is not what the oracle predicts",
    "conformance": "The kernel does not do what its ABI demands",
    "crosscheck": "Two witnesses disagree",
    "evidence": "A witness cannot be read",
    "subject": "The subject failed",
    "guest": "The guest failed",
    "infrastructure": "The laboratory failed",
    "usage": "The request makes no sense",
    "unsupported": "This machine or guest cannot do it",
    "history": "From older records",
}


def page() -> str:
    """Return the page docs/findings.md."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for family, title in _FAMILIES.items():
        yield f"## {title}: `{family}/…`\n"
        yield "| code | meaning | what to do |"
        yield "|---|---|---|"
        for code in Code:
            if code.family == family:
                yield f"| `{code}` | {code.meaning} | {code.action} |"
        yield ""
