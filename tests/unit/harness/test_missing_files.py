"""Files that a program looks for in vain, in a trace of the calls that name files."""

from __future__ import annotations

from foothold_lab.harness.model.findings import Code, Finding
from foothold_lab.harness.model.verdict import Result, Verdict
from foothold_lab.harness.runner.missing_files import add_missing, find_missing

TRACE = """\
12 execve("/opt/node", ["node"], 0x7ffc /* 9 vars */) = 0
12 openat(AT_FDCWD, "/lib/libz.so.1", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)
12 openat(AT_FDCWD, "/usr/lib/libz.so.1", O_RDONLY|O_CLOEXEC) = 3
12 readlink("/etc/localtime", 0x7ffc, 99) = -1 ENOENT (No such file or directory)
12 openat(AT_FDCWD, "relative", O_RDONLY) = -1 ENOENT (No such file or directory)
12 newfstatat(AT_FDCWD, "/etc/absent.conf", 0x7f, 0) = -1 ENOENT (No such file or directory)
12 access("/etc/forbidden", R_OK) = -1 EACCES (Permission denied)
12 openat(AT_FDCWD, "/etc/ssl/openssl.cnf", O_RDONLY) = -1 ENOENT (No such file or directory)
13 openat(AT_FDCWD, "/usr/share/node/first.js", O_RDONLY) = -1 ENOENT (No such file or directory)
12 exit_group(1) = ?
"""


def test_names_files_of_this_machine_last_first() -> None:
    here = {"/lib/libz.so.1", "/etc/localtime", "/etc/ssl/openssl.cnf", "/usr/share/node/first.js"}
    assert list(find_missing(TRACE, here.__contains__)) == [
        "/usr/share/node/first.js",
        "/etc/ssl/openssl.cnf",
    ]


def test_adds_a_finding_with_a_remedy() -> None:
    disagreement = Finding(Code.PLAN_EXPECTATION, "It died.")
    failed = Verdict(cell="a/none/b", result=Result.FAIL, seconds=0.1, findings=(disagreement,))
    verdict = add_missing(failed, ["/a", "/b c"])
    assert [each.code for each in verdict.findings] == [
        Code.PLAN_EXPECTATION,
        Code.SUBJECT_MISSING_FILE,
    ]
    assert "/a, /b c" in verdict.findings[1].text
    assert verdict.remedy == "add --file /a --file '/b c', or use --root host"
    assert add_missing(failed, []) == failed
