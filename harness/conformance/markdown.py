"""The page docs/uml-differences.md: what kernels do otherwise than their ABI demands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from foothold_lab.harness.conformance.differences import KnownDifference
from foothold_lab.harness.conformance.report import ProbeAnswer
from foothold_lab.harness.conformance.run_reader import ConformanceRun, Measurement

_HEAD = """\
# What User-Mode Linux does differently

<!-- made by `./foothold differences last`, of a run of the plan conformance: change
harness/conformance/differences.toml, or the probes in images/conformance, instead -->

This page is for people who run programs on User-Mode Linux (UML), and for developers of its kernel.
It lists what kernels do otherwise than their written ABI demands. Each row is a probe: a small
program that asks the kernel one question. All probes conform natively on the same machine. The
sandbox gVisor, and a Linux kernel under QEMU, were asked the same questions. gVisor tells programs that
it is Linux 4.4.0.

<!-- when: weekly -->
<!-- exit: 0 1 1 -->
```sh
./foothold run conformance                                     # all probes in all guests
./foothold run conformance --guest uml-6.1 --probe trap/int80  # one probe in one guest
./foothold run conformance --uml ./linux --probe trap/int80    # in your own kernel, for git bisect
```

The plan passes if each kernel differs only as this page says. A probe that differs and is not listed
is the finding [`conformance/differs`](findings.md); one that is listed and conforms is
`conformance/repaired`. A probe that `--probe` chooses fails if it differs, listed or not: `git bisect`
needs that. The sources of the probes are in `images/conformance`. In the columns of the guests, `x`
means that the probe differs, and `n/a` that the question does not arise: the processor or the kernel
lacks an optional feature. `3/5` means that it differed in three of five runs: some differences depend
on timing or on the processor. A known one is listed even if it was `0/5`.

`./foothold repro RUN CELL --bundle FILE` packs a cell that shows a row, to run it without Foothold. To
add a probe, write a function with `PROBE` in the file of its group. It must conform natively in every
run: `tests/agent/test_conformance.py` runs it.
"""
_CANNOT_ANSWER = "(its guest died)"


def page(run: ConformanceRun, known: Sequence[KnownDifference]) -> str:
    """Return the page of a run, with what the known differences say about each probe."""
    parts = (_kernels(run), _groups(run, known), _unseen(run, known), _conforming(run, known))
    return "\n".join([_HEAD, *(line for part in parts for line in part)])


def _kernels(run: ConformanceRun) -> Iterator[str]:
    yield "| guest | kernel | probes that differ |"
    yield "|---|---|---|"
    for guest, kernel in run.kernels.items():
        count = sum(guest in each for each in run.differing.values())
        asked = sum(guest in each for each in run.answers.values())
        mode = f", {kernel.mode} mode" if kernel.mode else ""
        release = kernel.release.partition("-")[0] if guest == "native" else kernel.release
        yield f"| `{guest}` | {release}{mode} | {count} of {asked} |"
    yield ""


def _groups(run: ConformanceRun, known: Sequence[KnownDifference]) -> Iterator[str]:
    names = _names(run, known)
    shown = {
        guest for name in names for guest in (*_differing(run, name), *_missed(name, run, known))
    }
    guests = [guest for guest in run.kernels if guest in shown]
    for group in dict.fromkeys(name.partition("/")[0] for name in names):
        columns = " | ".join(f"{guest}" for guest in guests)
        yield f"## {group}\n"
        yield f"| probe | {columns} | demanded | what happens | who is hit |"
        yield f"|---|{'---|' * len(guests)}---|---|---|"
        for name in names:
            if name.startswith(f"{group}/"):
                yield _row(name, run, guests, known)
        yield ""


def _differing(run: ConformanceRun, name: str) -> Mapping[str, Measurement]:
    return run.differing.get(name, {})


def _names(run: ConformanceRun, known: Sequence[KnownDifference]) -> list[str]:
    """Return the probes that differ in the run, and those that are known to differ sometimes."""
    sometimes = {each.probe for each in known if any(_missed(each.probe, run, known).values())}
    return sorted(sometimes | set(run.differing))


def _missed(
    name: str, run: ConformanceRun, known: Sequence[KnownDifference]
) -> dict[str, KnownDifference]:
    """Return the guests in which a probe sometimes differs, but did not in the run."""
    return {
        guest: each
        for guest, kernel in run.kernels.items()
        for each in known
        if each.probe == name and each.sometimes and each.holds_for(kernel)
        if guest not in _differing(run, name) and not _is_skipped(name, run, guest)
        if run.asked.get(name, {}).get(guest)
    }


def _row(
    name: str, run: ConformanceRun, guests: Sequence[str], known: Sequence[KnownDifference]
) -> str:
    missed = _missed(name, run, known)
    differing = _differing(run, name)
    marks = " | ".join(_mark(name, run, guest, missed=guest in missed) for guest in guests)
    applying = _applying(name, [*differing, *missed], run, known)
    happens = _joined(_happens(each.happens, applying) for each in applying)
    hits = _joined(f"{each.hits} {_link(each)}" for each in applying)
    if not applying:
        happens = next(iter(differing.values())).text
    shown = [each.cell for each in differing.values()]
    probe = f"`{name}`<br>`{shown[0]}`" if shown else f"`{name}`<br>"
    demanded = _demanded(run.answers.get(name, {}))
    return f"| {probe} | {marks} | {demanded} | {_escaped(happens)} | {_escaped(hits)} |"


def _mark(name: str, run: ConformanceRun, guest: str, *, missed: bool) -> str:
    asked = run.asked.get(name, {}).get(guest, 0)
    if found := _differing(run, name).get(guest):
        return "x" if found.times == asked else f"{found.times}/{asked}"
    if missed:
        return f"0/{asked}"
    return "n/a" if _is_skipped(name, run, guest) else ""


def _is_skipped(name: str, run: ConformanceRun, guest: str) -> bool:
    answer = run.answers.get(name, {}).get(guest)
    return bool(answer and answer.result == "skipped")


def _applying(
    name: str, guests: Sequence[str], run: ConformanceRun, known: Sequence[KnownDifference]
) -> list[KnownDifference]:
    kernels = [run.kernels[guest] for guest in guests if guest in run.kernels]
    return [each for each in known if each.probe == name and any(map(each.holds_for, kernels))]


def _happens(text: str, applying: Sequence[KnownDifference]) -> str:
    ranges = [_range(each) for each in applying if each.happens == text]
    return f"{text} ({' or '.join(ranges)})" if all(ranges) else text


def _range(known: KnownDifference) -> str:
    """Say of which kernels a difference is known."""
    kernels = known.kernels
    words = [f"since {kernels.since}"] if kernels.since else []
    words += [f"before {kernels.before}"] if kernels.before else []
    words += [f"{kernels.mode} mode"] if kernels.mode else []
    return ", ".join(words)


def _link(known: KnownDifference) -> str:
    target = known.reference.removeprefix("docs/")
    return f"[Report]({target})." if target.startswith(("upstream/", "https://")) else ""


def _demanded(answers: Mapping[str, ProbeAnswer]) -> str:
    for answer in answers.values():
        return _escaped(f"{answer.demand} ({answer.source})")
    return _CANNOT_ANSWER


def _joined(texts: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(text.strip() for text in texts))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _unseen(run: ConformanceRun, known: Sequence[KnownDifference]) -> Iterator[str]:
    """Yield the known differences whose probes need another processor than that of this run."""
    listed = _names(run, known)
    unseen = [
        each
        for each in known
        if each.probe not in listed
        and all(_is_skipped(each.probe, run, guest) for guest in run.kernels)
    ]
    if unseen:
        yield "\n## Known differences that need another processor\n"
        for each in unseen:
            yield f"* `{each.probe}`: {_escaped(each.happens)} {_link(each)}".rstrip()
        yield ""


def _conforming(run: ConformanceRun, known: Sequence[KnownDifference]) -> Iterator[str]:
    """List the probes that conform in all guests: what was asked is a result, too."""
    yield "## Probes that conform in all guests\n"
    names = sorted(set(run.answers) - set(_names(run, known)))
    for group in dict.fromkeys(name.partition("/")[0] for name in names):
        inside = [name.partition("/")[2] for name in names if name.startswith(f"{group}/")]
        yield f"* `{group}`: {', '.join(inside)}."
