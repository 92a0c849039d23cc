"""Compares guests by random programs of mapping and signal calls.

* `generator`     makes programs from a seed
* `report`        what the interpreter in images/call_programs printed
* `interpreter`   runs programs in one guest, which it boots again if a program ends it
* `comparison`    where two answers differ, and whether two differences look the same
* `shrink`        makes a program smaller that still differs
* `corpus`        programs with known answers, in corpus.toml
* `campaign`      the loop over programs and guests
"""

from foothold_lab.harness.call_fuzzer.campaign import Campaign, CampaignResult, FoundDifference
from foothold_lab.harness.call_fuzzer.corpus import CorpusProgram, read_corpus
from foothold_lab.harness.call_fuzzer.interpreter import Interpreter
from foothold_lab.harness.call_fuzzer.report import Program, parse_program, program_text

__all__ = [
    "Campaign",
    "CampaignResult",
    "CorpusProgram",
    "FoundDifference",
    "Interpreter",
    "Program",
    "parse_program",
    "program_text",
    "read_corpus",
]
