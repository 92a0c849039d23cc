"""The loop over random programs: natively and in each guest, confirmed, shrunk and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock

from foothold_lab.harness.call_fuzzer.comparison import Difference, first_difference
from foothold_lab.harness.call_fuzzer.corpus import CorpusProgram
from foothold_lab.harness.call_fuzzer.generator import random_programs
from foothold_lab.harness.call_fuzzer.interpreter import Interpreter
from foothold_lab.harness.call_fuzzer.report import Answers, Program
from foothold_lab.harness.call_fuzzer.shrink import shrink
from foothold_lab.harness.conformance import Kernel, KnownDifference

BATCH = 250  # programs that are made from one seed, and run together
_CONFIRMATIONS = 3  # runs in which a difference must look the same
_MOST_SHRUNK = 3  # programs of a batch and a guest that are shrunk


@dataclass(frozen=True, kw_only=True)
class FoundDifference:
    """A program that differs in a guest, and is not known to: shrunk, with the seed that made it.

    `seed` is -1 for a program of the corpus.
    """

    guest: str
    seed: int
    difference: Difference


@dataclass(kw_only=True)
class CampaignResult:
    """What a campaign has found.

    programs: how many were run, by guest. known: how many of them differed as is known.
    unstable: how many answered differently when they were run again.
    repaired: programs of the corpus that should differ in a guest, and did not.
    """

    programs: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    unstable: dict[str, int] = field(default_factory=dict)
    found: list[FoundDifference] = field(default_factory=list)
    repaired: list[tuple[str, CorpusProgram]] = field(default_factory=list)

    def count(self, counts: dict[str, int], guest: str, more: int = 1) -> None:
        """Add to a number of a guest."""
        counts[guest] = counts.get(guest, 0) + more


class Campaign:
    """Compares guests with this machine.

    `reference` is this machine, `others` are the guests with their kernels. `on_found` is called with
    each new difference.
    """

    def __init__(
        self,
        reference: Interpreter,
        others: Sequence[tuple[Interpreter, Kernel]],
        on_found: Callable[[FoundDifference], None],
    ) -> None:
        self._reference = reference
        self._others = others
        self._on_found = on_found
        self._explained: dict[str, list[Difference]] = {one.guest: [] for one, _ in others}
        self._shrinking = Lock()  # guests often differ in the same way: it is shrunk in one of them
        self._new: list[Difference] = []  # of all guests: what looks the same is the same
        self.result = CampaignResult()

    def replay(self, corpus: Sequence[CorpusProgram], known: Sequence[KnownDifference]) -> None:
        """Run the corpus in every guest: what differs as is known explains what random programs do."""
        programs = [each.calls for each in corpus]
        native = self._reference.run(programs)
        for interpreter, kernel in self._others:
            answers = interpreter.run(programs)
            self.result.count(self.result.programs, interpreter.guest, len(programs))
            for entry, ours, theirs in zip(corpus, native, answers, strict=True):
                found = first_difference(entry.calls, ours, theirs)
                expected = entry.may_differ(kernel, known)
                if found and not expected:
                    self._report(interpreter, -1, found)
                elif found:
                    self.result.count(self.result.known, interpreter.guest)
                    self._explained[interpreter.guest].append(found)
                elif expected and not entry.sometimes:
                    self.result.repaired.append((interpreter.guest, entry))

    def fuzz(self, seed: int, seconds: float, workers: int) -> int:
        """Run random programs until the time is over; return the seed that would be next."""
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(workers) as pool:
            while time.monotonic() < end:
                programs = random_programs(seed, BATCH)
                native = self._reference.run(programs)
                jobs = [
                    pool.submit(self._compare, each, seed, programs, native)
                    for each, _ in self._others
                ]
                for job in jobs:
                    job.result()
                seed += 1
        return seed

    def guests_that_differ(self, found: FoundDifference) -> list[str]:
        """Return the guests in which a program differs that was found in one of them."""
        programs = [found.difference.program]
        native = self._reference.run(programs)
        return [each.guest for each, _ in self._others if each.run(programs) != native]

    def _compare(
        self,
        interpreter: Interpreter,
        seed: int,
        programs: Sequence[Program],
        native: Sequence[Answers],
    ) -> None:
        guest = interpreter.guest
        answers = interpreter.run(programs)
        self.result.count(self.result.programs, guest, len(programs))
        shrunk = 0
        for found in _differences(programs, native, answers):
            if self._is_explained(guest, found):
                self.result.count(self.result.known, guest)
            elif shrunk < _MOST_SHRUNK:
                with self._shrinking:
                    shrunk += self._confirm_and_shrink(interpreter, seed, found)

    def _is_explained(self, guest: str, found: Difference) -> bool:
        return any(each.explains(found) for each in (*self._explained[guest], *self._new))

    def _confirm_and_shrink(self, interpreter: Interpreter, seed: int, found: Difference) -> bool:
        """Report a difference that comes again; say whether it does."""
        if self._is_explained(interpreter.guest, found):  # by now, from another guest
            return False
        again = (found.program,) * _CONFIRMATIONS
        native, answers = self._reference.run(again), interpreter.run(again)
        confirmed = first_difference(found.program, native[0], answers[0])
        if len({*native}) > 1 or len({*answers}) > 1 or not confirmed:
            self.result.count(self.result.unstable, interpreter.guest)
            return False
        if self._is_explained(interpreter.guest, confirmed):  # found was what a busy machine did
            self.result.count(self.result.known, interpreter.guest)
            return False
        found = confirmed
        smallest = shrink(
            found.program, lambda tried: self._show(interpreter, tried, found.signature)
        )
        [ours], [theirs] = self._reference.run([smallest]), interpreter.run([smallest])
        small = first_difference(smallest, ours, theirs) or found
        self._report(interpreter, seed, small)
        self._new.append(replace(found, program=small.program))
        return True

    def _show(
        self, interpreter: Interpreter, tried: Sequence[Program], signature: tuple[str, str, str]
    ) -> list[bool]:
        """Say of each program whether it shows the same difference."""
        pairs = zip(self._reference.run(tried), interpreter.run(tried), strict=True)
        found = [
            first_difference(program, ours, theirs)
            for program, (ours, theirs) in zip(tried, pairs, strict=True)
        ]
        return [bool(each and each.signature == signature) for each in found]

    def _report(self, interpreter: Interpreter, seed: int, found: Difference) -> None:
        new = FoundDifference(guest=interpreter.guest, seed=seed, difference=found)
        self.result.found.append(new)
        self._new.append(found)
        self._on_found(new)


def _differences(
    programs: Sequence[Program], native: Sequence[Answers], answers: Sequence[Answers]
) -> Iterator[Difference]:
    for program, ours, theirs in zip(programs, native, answers, strict=True):
        if found := first_difference(program, ours, theirs):
            yield found
