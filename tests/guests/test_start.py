"""A program starts in every guest as its user starts it: executed by the kernel, at its own path."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from foothold_lab.harness.guests.catalogue import known_guests
from foothold_lab.harness.model.cells import Cell, Limits
from foothold_lab.harness.model.deadline import Deadline
from foothold_lab.harness.model.findings import Code
from foothold_lab.harness.model.verdict import Expectation, Outcome, Result, Verdict
from foothold_lab.harness.subjects import (
    ALLOCATOR,
    ProgramOptions,
    Subject,
    libraries,
    of_program,
)
from foothold_lab.harness.transport.stream import PipeStream
from foothold_lab.harness.transport.supervised import OWN_TRACE, supervise
from foothold_lab.images import elf
from foothold_lab.images.builder import Builder
from foothold_lab.images.debian_arch import ARM64, PORTS
from tests.guests.conftest import happen, open_or_skip
from tests.host_compiler import dynamic_compiler, host_compiler

GUESTS = ("native", "uml-bookworm", "uml-testing", "qemu-x86_64", "docker")
_SOURCES = {
    # the kernel loads it at two thirds of the address space: of 39 bits in UML 6.1, else of 47
    "text": """
#include <stdio.h>
int main(void){unsigned long t=(unsigned long)main>>40;if(!t)t=(unsigned long)main>>32;
if(t!=0x55&&t!=0x56){printf("unexpected mapping %p\\n",(void*)main);return 66;} puts("started");}
""",
    "brk": """
#include <stdio.h>
#include <unistd.h>
int main(void){int n=0;while(n<64&&sbrk(1<<20)!=(void*)-1)n++;
printf("the heap grows by %d MiB\\n",n);return n<64;}
""",
    # runs itself again, as the sanitizers of LLVM do
    "again": """
#include <stdio.h>
#include <sys/personality.h>
#include <unistd.h>
int main(int c,char**v){int o=personality(-1);if(!(o&ADDR_NO_RANDOMIZE)){
personality(o|ADDR_NO_RANDOMIZE);execv("/proc/self/exe",v);return 1;} puts("started");}
""",
    "self": """
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int c,char**v){char exe[4096]={0},comm[32]={0};
readlink("/proc/self/exe",exe,sizeof exe-1);
FILE*f=fopen("/proc/self/comm","r");fgets(comm,sizeof comm,f);
printf("%s %s",exe,comm);return strcmp(exe,v[1])||strcmp(comm,"self\\n");}
""",
    "plugin": """
#include <dlfcn.h>
#include <stdio.h>
int main(void){void*p=dlopen("libplugin.so",RTLD_NOW);
if(!p){puts(dlerror());return 1;} int(*f)(void)=(int(*)(void))dlsym(p,"answer");return f()!=42;}
""",
    "nobody": """
#include <pwd.h>
#include <stdio.h>
int main(void){struct passwd*p=getpwnam("nobody");if(!p)return 1;
printf("%d\\n",(int)p->pw_uid);return p->pw_uid!=65534;}
""",
    "work": """
#include <stdio.h>
#include <string.h>
int main(void){char s[16]={0};FILE*f=fopen("given.txt","r");if(!f||!fgets(s,sizeof s,f))return 1;
if(strcmp(s,"given"))return 2;
f=fopen("written.txt","w");if(!f)return 3;fputs("written",f);return fclose(f);}
""",
}


@dataclass(frozen=True)
class Programs:
    directory: Path
    subjects: Mapping[str, Subject]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """Compile the programs; `plugin` finds a library beside itself by RUNPATH."""
    place = tmp_path_factory.mktemp("programs")
    (place / "lib").mkdir()
    (place / "answer.c").write_text("int answer(void){return 42;}")
    library = [
        *host_compiler(),
        "-shared",
        "-fPIC",
        "-o",
        place / "lib/libplugin.so",
        place / "answer.c",
    ]
    subprocess.run(library, check=True)
    (place / "given.txt").write_text("given")
    made = {}
    for name, source in _SOURCES.items():
        (place / f"{name}.c").write_text(source)
        flags = ["-Wl,-rpath,$ORIGIN/lib", "-Wl,--enable-new-dtags"] if name == "plugin" else []
        program = place / name
        subprocess.run(
            [*host_compiler(), "-w", *flags, "-o", program, place / f"{name}.c", "-ldl"], check=True
        )
        made[name] = of_program(
            str(program),
            [str(program)] if name == "self" else [],
            ProgramOptions(files=[str(place / "given.txt")] if name == "work" else []),
        )
    reads = place / "reads"
    reads.write_text("#!/bin/sh\nread x\nexit 5\n")
    reads.chmod(0o755)
    made["reads"] = of_program(str(reads))
    return Programs(place, made)


def run(
    programs: Programs,
    guest: str,
    builder: Builder,
    directory: Path,
    *names: str,
    limits: str = "none",
) -> dict[str, Verdict]:
    """Run these programs in one guest; return their verdicts."""
    guest = known_guests(builder).get(guest, guest)
    cells = [
        Cell(
            guest=guest,
            limits=Limits.parse(limits),
            policy="",
            subject=name,
            expected=Expectation.parse("starts"),
        )
        for name in names
    ]
    subjects = {name: programs.subjects[name] for name in names}
    happened = happen(cells, builder, directory, jobs=1, subjects=subjects)
    found = {cell.subject: happened.verdicts[cell.id] for cell in cells}
    for verdict in found.values():
        if verdict.result is Result.UNSUPPORTED:
            pytest.skip(verdict.reason)
    return found


@pytest.mark.parametrize("guest", GUESTS)
def test_starts_programs_as_by_hand(
    programs: Programs, guest: str, builder: Builder, tmp_path: Path
) -> None:
    names = [name for name in _SOURCES if name != "nobody" or guest != "native"]
    found = run(programs, guest, builder, tmp_path / "run", *names)
    wrong = {name: str(each) for name, each in found.items() if each.result is not Result.PASS}
    assert wrong == {}


@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.parametrize("limits", ["no-aslr", "rlimit_as=300M"])
def test_starts_programs_under_limits(
    programs: Programs, guest: str, limits: str, builder: Builder, tmp_path: Path
) -> None:
    found = run(programs, guest, builder, tmp_path / "run", "text", "self", "again", limits=limits)
    wrong = {name: str(each) for name, each in found.items() if each.result is not Result.PASS}
    assert wrong == {}


@pytest.mark.parametrize("guest", [*GUESTS, "bubblewrap", "nspawn", "gvisor"])
def test_a_program_at_a_link_of_the_root_replaces_nothing_else(guest: str) -> None:
    """In our root /bin/sh is a link to busybox, as are all other commands."""
    with open_or_skip(guest) as opened:
        words = ("-c", "sleep 0 && ls / && exit 7")
        verdict = opened.run_cell("/bin/sh", *words, expect="status:7")
    assert verdict.result is Result.PASS, str(verdict)


@pytest.mark.parametrize("guest", GUESTS)
def test_closes_standard_input(
    programs: Programs, guest: str, builder: Builder, tmp_path: Path
) -> None:
    found = run(programs, guest, builder, tmp_path / "run", "reads")
    observed = found["reads"].observed
    assert observed
    assert (observed.outcome, observed.status) == (Outcome.DIES, 5)


@pytest.mark.parametrize("guest", GUESTS)
def test_keeps_the_files_that_a_program_writes(
    programs: Programs, guest: str, builder: Builder, tmp_path: Path
) -> None:
    run(programs, guest, builder, tmp_path / "run", "work")
    [written] = (tmp_path / "run").glob("cells/*/*/*/files/*")
    assert (written.name, written.read_text()) == ("written.txt", "written")


@pytest.mark.parametrize("guest", GUESTS)
def test_gives_files_input_and_user(guest: str, builder: Builder, tmp_path: Path) -> None:
    script, data, words = tmp_path / "uses", tmp_path / "data", tmp_path / "words"
    (data / "below").mkdir(parents=True)
    (data / "below/file").write_text("content")
    words.write_text("first\nsecond\n")
    script.write_text(
        f"""#!/bin/sh
        read -r word
        [ "$word" = first ] || exit 10
        [ "$(cat data/below/file)" = content ] || exit 11
        [ "$(cat {data}/below/file)" = content ] || exit 12
        [ "$(id -u)" = "$1" ] || exit 13
        echo mine > mine || exit 14
        """
    )
    script.chmod(0o755)
    # a directory of tests belongs to root alone
    user = "" if guest == "native" else "www-data"
    subject = of_program(
        str(script),
        ["33" if user else str(os.getuid()) if guest == "native" else "0"],
        ProgramOptions(files=[str(data)], stdin=str(words), user=user),
    )
    programs = Programs(tmp_path, {"uses": subject})
    verdict = run(programs, guest, builder, tmp_path / "run", "uses")["uses"]
    assert verdict.result is Result.PASS, str(verdict)
    written = [each.name for each in (tmp_path / "run").glob("cells/*/*/*/files/*")]
    assert written == ["mine"]


@pytest.mark.parametrize("guest", [guest for guest in GUESTS if guest != "native"])
def test_names_a_missing_file(guest: str, builder: Builder, tmp_path: Path) -> None:
    script, needed = tmp_path / "needs", Path("/etc/debian_version")
    if not needed.exists():
        pytest.skip(f"this machine has no {needed}")
    script.write_text(f"#!/bin/sh\nread -r line < {needed} || exit 9\n")
    script.chmod(0o755)
    programs = Programs(tmp_path, {"needs": of_program(str(script))})
    verdict = run(programs, guest, builder, tmp_path / "run", "needs")["needs"]
    assert verdict.result is Result.FAIL
    assert Code.SUBJECT_MISSING_FILE in [each.code for each in verdict.findings]
    assert f"--file {needed}" in verdict.remedy
    mended = of_program(str(script), (), ProgramOptions(files=[str(needed)]))
    programs = Programs(tmp_path, {"needs": mended})
    verdict = run(programs, guest, builder, tmp_path / "again", "needs")["needs"]
    assert verdict.result is Result.PASS, str(verdict)


_VERSION = """
#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>
int main(int c,char**v){puts(gnu_get_libc_version());
FILE*f=fopen("written.txt","w");if(!f)return 3;fputs(gnu_get_libc_version(),f);fclose(f);
return strcmp(gnu_get_libc_version(),v[1]);}
"""


def _copy_library(library: Path, copy: Path) -> str:
    """Copy a library; a libc then says that its version is 9.99. Returns the version it had."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    content, version = library.read_bytes(), ""
    if copy.name == "libc.so.6":
        # gnu_get_libc_version(3) may share the end of another string
        stored = re.compile(rb"(\0(?:glibc |NPTL )?)(2\.\d\d)\0")
        [version] = {match[2].decode() for match in stored.finditer(content)}
        content = stored.sub(rb"\g<1>9.99\0", content)
    copy.write_bytes(content)
    copy.chmod(0o755)
    return version


@pytest.mark.parametrize("guest", [guest for guest in GUESTS if guest != "native"])
def test_gives_each_program_its_own_libc(guest: str, builder: Builder, tmp_path: Path) -> None:
    """One guest runs two programs with different libcs, and the allocator with that of the guest."""
    source, program = tmp_path / "version.c", tmp_path / "version"
    source.write_text(_VERSION)
    subprocess.run([*host_compiler(), "-w", "-o", program, source], check=True)
    sysroot, version = tmp_path / "sysroot", ""
    for path, library in libraries.of_host(
        program, elf.interpreter(program) or "", {}
    ).files.items():
        version = _copy_library(library, sysroot / path[1:]) or version
    made = {
        "newer": of_program(str(program), ["9.99"], ProgramOptions(name="newer", sysroot=sysroot)),
        "here": of_program(str(program), [version], ProgramOptions(name="here")),
        "allocator": ALLOCATOR,
    }
    name = known_guests(builder).get(guest, guest)
    cells = [
        Cell(guest=name, limits=Limits(), policy=policy, subject=each, expected=expected)
        for each, policy, expected in (
            ("newer", "", Expectation.parse("starts")),
            ("here", "", Expectation.parse("starts")),
            ("allocator", "after", None),
        )
    ]
    happened = happen(cells, builder, tmp_path / "run", jobs=1, subjects=made)
    if any(each.result is Result.UNSUPPORTED for each in happened.verdicts.values()):
        pytest.skip(next(iter(happened.verdicts.values())).reason)
    wrong = [str(each) for each in happened.verdicts.values() if each.result is not Result.PASS]
    assert (len(happened.verdicts), wrong) == (3, [])


def test_starts_emulated_programs_with_their_libraries(builder: Builder, tmp_path: Path) -> None:
    """qemu-user finds the loader of a program below the sysroot, or in its own root."""
    own = builder.image("root-arm64")
    source, program = tmp_path / "version.c", tmp_path / "version"
    source.write_text(_VERSION)
    command = dynamic_compiler(builder, ARM64)
    subprocess.run([*command, "-w", "-o", program, source], check=True)
    sysroot, version = tmp_path / "sysroot", ""
    for each in own.glob("lib/aarch64-linux-gnu/*"):
        version = _copy_library(each, sysroot / each.relative_to(own)) or version
    made = {
        name: of_program(str(program), [expected], replace(options, name=name))
        for name, expected, options in (
            ("newer", "9.99", ProgramOptions(sysroot=sysroot)),
            ("own", version, ProgramOptions()),
            ("host", version, ProgramOptions(root="host")),
        )
    }
    programs = Programs(tmp_path, made)
    found = run(programs, "qemu-user-arm64", builder, tmp_path / "run", *made)
    wrong = {name: str(each) for name, each in found.items() if each.result is not Result.PASS}
    assert wrong == {}
    written = {each.read_text() for each in (tmp_path / "run").glob("cells/*/*/*/files/*")}
    assert written == {"9.99", version}


_DATA = """
#include <grp.h>
#include <iconv.h>
#include <langinfo.h>
#include <locale.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
int main(void){char in[]="\\xc1",out[16]={0},*i=in,*o=out;size_t n=1,m=sizeof out;
struct passwd*p=getpwnam("nobody");if(!p||p->pw_uid!=65534||!getgrgid(0))return 1;
if(!setlocale(LC_ALL,"")||strcmp(nl_langinfo(CODESET),"UTF-8"))return 2;
iconv_t c=iconv_open("UTF-16LE","KOI8-R");if(c==(iconv_t)-1)return 3;
if(iconv(c,&i,&n,&o,&m)==(size_t)-1||out[0]!=0x30||out[1]!=0x04)return 4;
puts("started");return iconv_open("UTF-16","KOI8-R")==(iconv_t)-1;}
"""


@pytest.mark.parametrize("guest", GUESTS)
def test_brings_what_a_libc_loads(guest: str, builder: Builder, tmp_path: Path) -> None:
    """Name services, character sets and the locale that the environment names, as by hand."""
    source, program = tmp_path / "data.c", tmp_path / "data"
    source.write_text(_DATA)
    subprocess.run([*host_compiler(), "-w", "-o", program, source], check=True)
    environment = {"LC_ALL": "C.UTF-8"}
    by_hand = subprocess.run([program], env=environment, check=False)
    assert by_hand.returncode == 0
    options = ProgramOptions(environment=[f"{name}={each}" for name, each in environment.items()])
    programs = Programs(tmp_path, {"data": of_program(str(program), (), options)})
    verdict = run(programs, guest, builder, tmp_path / "run", "data")["data"]
    assert verdict.result is Result.PASS, str(verdict)


_REFUSES_ROOT = """
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
int main(int c,char**v){struct stat s;struct passwd*p=getpwuid(geteuid());
if(!geteuid()||!getegid()||!p||strcmp(p->pw_name,v[1]))return 1;
if(!getenv("USER")||strcmp(getenv("USER"),v[1])||strcmp(getenv("HOME"),p->pw_dir))return 2;
if(stat("private",&s)||s.st_uid!=geteuid()||(s.st_mode&0777)!=0700||stat("private/empty",&s))return 3;
FILE*f=fopen("private/written","w");if(!f)return 4;fputs("written",f);fclose(f);
puts("started");return 0;}
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user of this machine can enter: those of tests belong to one."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def skip_without_root(guest: str) -> None:
    """Skip a test in which a program changes its user, if only root can do that."""
    if guest == "native" and os.getuid() != 0:
        pytest.skip("only root can change the user natively")


@pytest.mark.parametrize("guest", GUESTS)
def test_runs_a_program_that_refuses_root(
    guest: str, builder: Builder, reachable: Path, tmp_path: Path
) -> None:
    skip_without_root(guest)
    source, program = reachable / "refuses.c", reachable / "refuses"
    source.write_text(_REFUSES_ROOT)
    subprocess.run([*host_compiler(), "-w", "-o", program, source], check=True)
    private = reachable / "private"
    (private / "empty").mkdir(parents=True)
    (private / "given").write_text("given")
    (private / "given").chmod(0o600)
    private.chmod(0o700)
    user = "nobody" if guest == "native" else "postgres"
    options = ProgramOptions(files=[str(private)], user=user)
    programs = Programs(reachable, {"refuses": of_program(str(program), [user], options)})
    verdict = run(programs, guest, builder, tmp_path / "run", "refuses")["refuses"]
    assert verdict.result is Result.PASS, str(verdict)
    written = [each.name for each in (tmp_path / "run").glob("cells/*/*/*/files/private/*")]
    assert written == ["written"]


@pytest.mark.parametrize("guest", GUESTS)
def test_refuses_a_user_that_its_root_does_not_have(
    guest: str, builder: Builder, reachable: Path, tmp_path: Path
) -> None:
    skip_without_root(guest)
    program = builder.image("root") / "bin/busybox"
    subject = of_program(str(program), ["true"], ProgramOptions(user="nosuchuser"))
    programs = Programs(reachable, {"true": subject})
    verdict = run(programs, guest, builder, tmp_path / "run", "true")["true"]
    found = [finding.code for finding in verdict.findings]
    assert (verdict.result, found) == (Result.ERROR, [Code.USAGE_ERROR])


def test_another_user_opens_the_log_of_its_emulator(builder: Builder, reachable: Path) -> None:
    skip_without_root("native")
    fifo, agent = reachable / "log", str(builder.image("agent") / "agent")
    script = f"id -u > {fifo}"
    command = (agent, "run", "--user", "nobody", "--trace", f"{OWN_TRACE}{fifo}", "--",
               "/bin/sh", "-c", script)  # fmt: skip
    stream = PipeStream(command)
    try:
        record = supervise(stream, ["sh"], Deadline.after(60))
    finally:
        stream.close()
    assert (record.ending.status, record.trace) == (0, b"%d\n" % pwd.getpwnam("nobody").pw_uid)
    assert not fifo.exists()


def test_an_emulator_names_a_directory_that_a_user_cannot_enter(
    builder: Builder, tmp_path: Path
) -> None:
    skip_without_root("native")
    tmp_path.chmod(0o700)
    program = builder.image(PORTS["arm64"].image("root")) / "bin/busybox"
    subject = of_program(str(program), ["true"], ProgramOptions(user="nobody"))
    cell = Cell(guest="qemu-user-arm64", limits=Limits(), policy="", subject="busybox")
    happened = happen([cell], builder, tmp_path / "run", subjects={"busybox": subject})
    [verdict] = happened.verdicts.values()
    assert verdict.result is Result.UNSUPPORTED
    assert "the user `nobody` may not search the directory /" in verdict.reason


@pytest.mark.parametrize("guest", ["native", "uml-bookworm", "docker"])
def test_starts_postgresql(guest: str, builder: Builder, reachable: Path, tmp_path: Path) -> None:
    """The server of this machine's package refuses root, and wants its data to be its user's."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found or os.getuid() != 0:
        pytest.skip("this machine has no PostgreSQL, or this user cannot become another")
    place, share = found[-1].parent, Path("/usr/share/postgresql", found[-1].parent.parent.name)
    data = reachable / "data"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    subprocess.run(
        [place / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
        user="postgres", group="postgres", extra_groups=[], env={"TZ": "GMT"}, cwd="/",
        check=True, capture_output=True,
    )  # fmt: skip
    options = ProgramOptions(
        files=[str(data), str(share), str(place.parent / "lib")],
        user="postgres",
        ready_port=5499,
        timeout=30,
    )
    arguments = ["-D", "data", "-k", "/tmp", "-p", "5499", "-c", "fsync=off"]
    subject = of_program(str(found[-1]), arguments, options)
    programs = Programs(reachable, {"postgres": subject})
    verdict = run(programs, guest, builder, tmp_path / "run", "postgres")["postgres"]
    assert verdict.result is Result.PASS, str(verdict)
