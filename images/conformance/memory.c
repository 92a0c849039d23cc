/* Memory that is shared: with files, with other processes, and with the kernel. */
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ_WRITE = PROT_READ | PROT_WRITE };

/* ---- files ---- */

PROBE(shared_file, "memory/shared-file",
	"A write through a shared mapping is read from the file, and the reverse.", "mmap(2)")
{
	char byte = 0;
	int file = file_of(1);
	char *at = map_file(file, 1, MAP_SHARED);
	at[5] = 42;
	if (pread(file, &byte, 1, 5) != 1)
		cannot("pread");
	demand_equal(byte, 42, "the byte in the file");
	if (pwrite(file, "\053", 1, 6) != 1)
		cannot("pwrite");
	demand_equal(at[6], 43, "the byte in the mapping");
}

PROBE(private_file, "memory/private-file",
	"A write through a private mapping is not seen in the file.", "mmap(2)")
{
	char byte = 1;
	int file = file_of(1);
	char *at = map_file(file, 1, MAP_PRIVATE);
	at[5] = 42;
	if (pread(file, &byte, 1, 5) != 1)
		cannot("pread");
	demand_equal(byte, 0, "the byte in the file");
}

PROBE(two_mappings, "memory/two-mappings", "Two shared mappings of a file show the same bytes.",
	"mmap(2)")
{
	int file = file_of(4);
	char *one = map_file(file, 4, MAP_SHARED), *two = map_file(file, 4, MAP_SHARED);
	for (size_t n = 0; n < 4; n++) {
		one[n * page_size()] = (char)(n + 1);
		demand_equal(two[n * page_size()], (long)n + 1, "the byte in the other mapping");
	}
}

static char working_file[] = "conformance-XXXXXX";

static int disk_file(void)
{
	int file = mkstemp(working_file);
	if (file < 0)
		skips("the working directory cannot be written: %s", strerror(errno));
	unlink(working_file);
	return file;
}

PROBE(disk_shared, "memory/disk-file",
	"A shared mapping of a file on a disk and its writes show the same bytes.",
	"mmap(2): MAP_SHARED")
{
	char byte = 0;
	int file = disk_file();
	if (ftruncate(file, (off_t)page_size()))
		cannot("ftruncate");
	char *at = mmap(NULL, page_size(), READ_WRITE, MAP_SHARED, file, 0);
	if (at == MAP_FAILED)
		skips("this file system has no shared mappings");
	at[5] = 42;
	if (msync(at, page_size(), MS_SYNC) || pread(file, &byte, 1, 5) != 1)
		cannot("pread");
	demand_equal(byte, 42, "the byte in the file");
}

PROBE(truncated, "memory/truncated-file",
	"A page of a mapping that ftruncate cut off raises SIGBUS; after growth it is zero.",
	"mmap(2), ftruncate(2)")
{
	int file = file_of(2);
	char *at = map_file(file, 2, MAP_SHARED);
	at[page_size()] = 42;
	if (ftruncate(file, (off_t)page_size()))
		cannot("ftruncate");
	demand_fault(fault_of_read(at + page_size()), SIGBUS, BUS_ADRERR, at + page_size());
	if (ftruncate(file, (off_t)(2 * page_size())))
		cannot("ftruncate");
	demand_equal(at[page_size()], 0, "the byte after growth");
}

PROBE(seals, "memory/seal", "A sealed memfd refuses writable mappings with EPERM.",
	"memfd_create(2)")
{
	int file = file_of(1);
	demand_errno(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE), 0, "F_ADD_SEALS");
	demand_errno((long)mmap(NULL, page_size(), READ_WRITE, MAP_SHARED, file, 0), EPERM, "mmap");
}

/* ---- fork ---- */

static volatile char *page;

static int change_page(void)
{
	*page = 43;
	return *page;
}

PROBE(private_fork, "memory/private-over-fork",
	"A write of a child to private memory is not seen by its parent.", "fork(2)")
{
	page = map_pages(1, READ_WRITE);
	*page = 42;
	demand_equal(in_child(change_page), 43, "what the child reads");
	demand_equal(*page, 42, "what the parent reads");
}

PROBE(shared_fork, "memory/shared-over-fork",
	"A write of a child to shared memory is seen by its parent.", "fork(2), mmap(2)")
{
	page = map_file(-1, 1, MAP_SHARED | MAP_ANONYMOUS);
	in_child(change_page);
	demand_equal(*page, 43, "what the parent reads");
}

PROBE(private_file_fork, "memory/private-file-over-fork",
	"A written page of a private file mapping is copied at fork.", "fork(2)")
{
	page = map_file(file_of(1), 1, MAP_PRIVATE);
	*page = 42;
	demand_equal(in_child(change_page), 43, "what the child reads");
	demand_equal(*page, 42, "what the parent reads");
}

/* more take long in a guest that gets a tenth of a processor */
enum { MANY = 100 };

static int change_many(void)
{
	for (size_t n = 0; n < MANY; n++)
		page[n * page_size()] = (char)~page[n * page_size()];
	return 0;
}

PROBE(many_fork, "memory/copy-on-write",
	"100 private pages keep their contents over five forks whose children write.", "fork(2)")
{
	page = map_pages(MANY, READ_WRITE);
	for (size_t n = 0; n < MANY; n++)
		page[n * page_size()] = (char)n;
	for (int turn = 0; turn < 5; turn++) {
		in_child(change_many);
		for (size_t n = 0; n < MANY; n++)
			DEMAND(page[n * page_size()] == (char)n, "page %zu was changed by a child",
				n);
	}
}

PROBE(shm, "memory/sysv-shm",
	"A System V segment is shared with a child, and shmat honours SHM_RDONLY.", "shmat(2)")
{
	int id = shmget(IPC_PRIVATE, page_size(), IPC_CREAT | 0600);
	if (id < 0 && errno == ENOSYS)
		skips("the kernel has no System V IPC");
	if (id < 0)
		cannot("shmget");
	page = shmat(id, NULL, 0);
	char *read_only = shmat(id, NULL, SHM_RDONLY);
	shmctl(id, IPC_RMID, NULL);
	DEMAND(page != (void *)-1 && read_only != (void *)-1, "shmat fails: %s", strerror(errno));
	in_child(change_page);
	demand_equal(*read_only, 43, "the byte in the second mapping");
	demand_fault(fault_of_write(read_only), SIGSEGV, SEGV_ACCERR, read_only);
}

/* ---- /proc ---- */

static bool find_area(
	const void *address, char *permissions, unsigned long *from, unsigned long *to)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	bool found = false;
	if (!maps)
		cannot("fopen");
	while (!found && fgets(line, sizeof line, maps))
		found = sscanf(line, "%lx-%lx %4s", from, to, permissions) == 3 &&
			*from <= (uintptr_t)address && (uintptr_t)address < *to;
	fclose(maps);
	return found;
}

PROBE(maps_protection, "memory/maps-protection",
	"/proc/self/maps shows a page with the protection that mprotect gave it.",
	"proc_pid_maps(5)")
{
	char permissions[5] = "";
	unsigned long from, to;
	char *at = map_pages(3, READ_WRITE);
	mprotect(at + page_size(), page_size(), PROT_READ | PROT_EXEC);
	DEMAND(find_area(at + page_size(), permissions, &from, &to), "the page is not shown");
	DEMAND(from == (uintptr_t)at + page_size() && to == from + page_size(),
		"the area is %lx-%lx", from, to);
	DEMAND(!strcmp(permissions, "r-xp"), "the page is shown as %s", permissions);
}

PROBE(maps_unmapped, "memory/maps-unmapped",
	"/proc/self/maps does not show a page that was unmapped.", "proc_pid_maps(5)")
{
	char permissions[5];
	unsigned long from, to;
	char *at = map_pages(3, READ_WRITE);
	munmap(at + page_size(), page_size());
	DEMAND(!find_area(at + page_size(), permissions, &from, &to), "the page is shown");
	DEMAND(find_area(at, permissions, &from, &to), "its neighbour is not shown");
}

PROBE(smaps, "memory/smaps-rss", "/proc/self/smaps counts the touched pages of a mapping as Rss.",
	"proc_pid_smaps(5)")
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	char line[512];
	long rss = -1;
	bool mine = false;
	if (!smaps)
		skips("the kernel has no smaps");
	char *at = map_pages(8, READ_WRITE);
	mprotect(at, 8 * page_size(),
		PROT_READ | PROT_WRITE | PROT_EXEC); /* not merged with others */
	for (size_t n = 0; n < 5; n++)
		at[n * page_size()] = 1;
	while (rss < 0 && fgets(line, sizeof line, smaps)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			mine = from == (uintptr_t)at;
		else if (mine)
			sscanf(line, "Rss: %ld", &rss);
	}
	demand_equal(rss, (long)(5 * page_size() / 1024), "Rss in KiB");
}

PROBE(pagemap, "memory/pagemap", "/proc/self/pagemap tells a touched page as present.",
	"Documentation/admin-guide/mm/pagemap.rst")
{
	uint64_t entries[2] = {0};
	char *at = map_pages(2, READ_WRITE);
	*at = 1;
	int file = open("/proc/self/pagemap", O_RDONLY);
	if (file < 0)
		skips("the kernel has no pagemap");
	if (pread(file, entries, sizeof entries, (off_t)((uintptr_t)at / page_size() * 8)) !=
		sizeof entries)
		cannot("pread");
	demand_equal((long)(entries[0] >> 63), 1, "the present bit of a touched page");
	demand_equal((long)(entries[1] >> 63), 0, "the present bit of an untouched page");
}

PROBE(proc_mem, "memory/proc-mem",
	"/proc/self/mem writes even to a read-only page, as debuggers need.", "proc_pid_mem(5)")
{
	char *at = map_pages(1, READ_WRITE);
	*at = 1;
	mprotect(at, page_size(), PROT_READ);
	int file = open("/proc/self/mem", O_RDWR);
	if (file < 0)
		cannot("open");
	if (pwrite(file, "*", 1, (off_t)(uintptr_t)at) != 1)
		differs("pwrite fails: %s", strerror(errno));
	demand_equal(*(volatile char *)at, '*', "the byte of the page");
}

PROBE(vm_read, "memory/process-vm-readv", "process_vm_readv reads the memory of a child.",
	"process_vm_readv(2)")
{
	int ends[2];
	char byte, got[8] = "";
	if (pipe(ends))
		cannot("pipe");
	char *at = map_pages(1, READ_WRITE);
	pid_t child = fork();
	if (!child) {
		memcpy(at, "of child", 8);
		if (write(ends[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	if (read(ends[0], &byte, 1) != 1)
		cannot("read");
	struct iovec local = {got, 8}, remote = {at, 8};
	long bytes = process_vm_readv(child, &local, 1, &remote, 1, 0);
	int error = errno;
	kill(child, SIGKILL);
	wait_for(child);
	errno = error;
	if (bytes < 0 && errno == ENOSYS)
		skips("the kernel has no process_vm_readv");
	demand_equal(bytes, 8, "the result");
	DEMAND(!memcmp(got, "of child", 8), "the bytes are %.8s", got);
}

PROBE(hidden_from_calls, "memory/protected-from-calls",
	"A system call cannot read a page with PROT_NONE: EFAULT.",
	"write(2): buf is outside your accessible address space")
{
	int ends[2];
	char *at = map_pages(1, READ_WRITE);
	*at = 42;
	mprotect(at, page_size(), PROT_NONE);
	if (pipe(ends))
		cannot("pipe");
	demand_errno(write(ends[1], at, 1), EFAULT, "write");
}

PROBE(replaced_page, "memory/replaced-page",
	"A page that MAP_FIXED with MAP_POPULATE replaces is gone, even where nothing can be "
	"populated.",
	"mmap(2): MAP_FIXED discards the overlapped part, and an access beyond a file raises "
	"SIGBUS")
{
	/* no other mapping uses the same page table */
	char *at = mmap((void *)0x1000000000, page_size(), READ_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (at == MAP_FAILED)
		cannot("mmap");
	*at = 42;
	int how = MAP_PRIVATE | MAP_FIXED | MAP_POPULATE;
	if (mmap(at, page_size(), READ_WRITE, how, file_of(0), 0) != at)
		cannot("mmap");
	errno = 0;
	demand_equal(fault_of_read(at).number, SIGBUS, "the signal of a read");
}

/* ---- rings of the kernel ---- */

PROBE(aio_ring, "memory/aio", "An AIO context is made, reads a file, and is destroyed.",
	"io_setup(2)")
{
	aio_context_t context = 0;
	char bytes[4] = "";
	long result = syscall(SYS_io_setup, 8, &context);
	if (result && errno == ENOSYS)
		skips("the kernel has no AIO");
	demand_errno(result, 0, "io_setup");
	int file = file_of(1);
	if (pwrite(file, "abcd", 4, 0) != 4)
		cannot("pwrite");
	struct iocb request = {.aio_fildes = (unsigned)file,
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_buf = (uintptr_t)bytes,
		.aio_nbytes = 4};
	struct iocb *requests[] = {&request};
	struct io_event event;
	demand_equal(syscall(SYS_io_submit, context, 1, requests), 1, "the result of io_submit");
	demand_equal(syscall(SYS_io_getevents, context, 1, 1, &event, NULL), 1,
		"the result of io_getevents");
	demand_equal((long)event.res, 4, "the bytes read");
	DEMAND(!memcmp(bytes, "abcd", 4), "the bytes are wrong");
	demand_errno(syscall(SYS_io_destroy, context), 0, "io_destroy");
}

static int exit_0(void)
{
	return 0;
}

PROBE(aio_fork, "memory/aio-over-fork", "A process with an AIO context forks ten times.",
	"io_setup(2), fork(2)")
{
	aio_context_t context = 0;
	if (syscall(SYS_io_setup, 8, &context) && errno == ENOSYS)
		skips("the kernel has no AIO");
	for (int n = 0; n < 10; n++)
		demand_equal(in_child(exit_0), 0, "the end of a child");
}

static int make_ring(struct io_uring_params *parameters, unsigned entries)
{
	memset(parameters, 0, sizeof *parameters);
	int ring = (int)syscall(SYS_io_uring_setup, entries, parameters);
	if (ring < 0 && (errno == ENOSYS || errno == EPERM))
		skips("the kernel has no io_uring, or refuses it");
	if (ring < 0)
		cannot("io_uring_setup");
	return ring;
}

PROBE(uring, "memory/io-uring", "An io_uring completes a request that does nothing.",
	"io_uring_setup(2)")
{
	struct io_uring_params p;
	int ring = make_ring(&p, 4);
	size_t bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	char *queue =
		mmap(NULL, bytes, READ_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	struct io_uring_sqe *requests = mmap(NULL, p.sq_entries * sizeof *requests, READ_WRITE,
		MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	DEMAND(queue != MAP_FAILED && requests != MAP_FAILED, "mmap fails: %s", strerror(errno));
	requests[0] = (struct io_uring_sqe){.opcode = IORING_OP_NOP, .user_data = 4711};
	((unsigned *)(void *)(queue + p.sq_off.array))[0] = 0;
	__atomic_store_n((unsigned *)(void *)(queue + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	demand_equal(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1,
		"the result of io_uring_enter");
	const struct io_uring_cqe *done = (const void *)(queue + p.cq_off.cqes);
	demand_equal((long)done->user_data, 4711, "the completion");
}

static int use_ring_and_fork(void)
{
	struct io_uring_params p;
	int ring = make_ring(&p, 256);
	size_t bytes = p.sq_entries * sizeof(struct io_uring_sqe);
	char *requests = mmap(NULL, bytes, READ_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (requests == MAP_FAILED)
		return 1;
	for (size_t at = 0; at < bytes; at += page_size())
		requests[at] = 1;
	pid_t child = fork();
	if (!child)
		_exit(requests[0] != 1);
	return child < 0 || wait_for(child) != 0;
}

LONE_PROBE(uring_fork, "memory/io-uring-over-fork",
	"A process that has mapped and written the entries of an io_uring forks.",
	"io_uring(7), fork(2)")
{
	pid_t children[4];
	for (int n = 0; n < 4; n++)
		children[n] = start(use_ring_and_fork);
	for (int n = 0; n < 4; n++)
		demand_equal(wait_for(children[n]), 0, "the end of a child");
	sleep_ms(200); /* the kernel frees the pages later, and complains then */
}

/* ---- userfaultfd ---- */

static int faults;
static char *watched;

static void *fill_page(void *unused)
{
	struct uffd_msg message;
	struct pollfd one = {.fd = faults, .events = POLLIN};
	(void)unused;
	if (poll(&one, 1, 5000) != 1 || read(faults, &message, sizeof message) != sizeof message)
		cannot("read of userfaultfd");
	static char content[65536] __attribute__((aligned(65536))) = "filled";
	struct uffdio_copy copy = {.dst = message.arg.pagefault.address & ~(page_size() - 1),
		.src = (uintptr_t)content,
		.len = page_size()};
	if (ioctl(faults, UFFDIO_COPY, &copy))
		cannot("UFFDIO_COPY");
	return NULL;
}

PROBE(userfaultfd, "memory/userfaultfd", "A page that userfaultfd fills is read after the fault.",
	"userfaultfd(2)")
{
	pthread_t thread;
	faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
	if (faults < 0)
		skips("the kernel has no userfaultfd");
	struct uffdio_api api = {.api = UFFD_API};
	if (ioctl(faults, UFFDIO_API, &api))
		cannot("UFFDIO_API");
	watched = map_pages(1, READ_WRITE);
	struct uffdio_register range = {
		.range = {(uintptr_t)watched, page_size()}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	demand_errno(ioctl(faults, UFFDIO_REGISTER, &range), 0, "UFFDIO_REGISTER");
	pthread_create(&thread, NULL, fill_page, NULL);
	DEMAND(!strcmp((const char *)watched, "filled"), "the page has %.8s", watched);
	pthread_join(thread, NULL);
}

/* ---- the kernel reads and writes memory ---- */

PROBE(partial_copy, "memory/partial-write",
	"A write from a buffer that ends in an unmapped page is partial, or EFAULT.", "write(2)")
{
	int ends[2];
	char *at = map_pages(2, READ_WRITE);
	munmap(at + page_size(), page_size());
	if (pipe(ends))
		cannot("pipe");
	long bytes = write(ends[1], at + page_size() - 10, 20);
	set_value(bytes);
	DEMAND(bytes == 10 || (bytes == -1 && errno == EFAULT), "it returns %ld", bytes);
}

PROBE(read_into_cow, "memory/read-into-shared-page",
	"read(2) into a page that a child shares changes that of the reader only.", "fork(2)")
{
	int ends[2], ready[2];
	char byte = 0;
	page = map_pages(1, READ_WRITE);
	*page = 42;
	if (pipe(ends) || pipe(ready))
		cannot("pipe");
	pid_t child = fork();
	if (!child) {
		char go;
		if (read(ready[0], &go, 1) != 1)
			_exit(99);
		_exit(*page);
	}
	if (write(ends[1], "+", 1) != 1 || read(ends[0], (char *)(uintptr_t)page, 1) != 1)
		cannot("read");
	if (write(ready[1], &byte, 1) != 1)
		cannot("write");
	demand_equal(*page, '+', "what the parent reads");
	demand_equal(WEXITSTATUS(wait_for(child)), 42, "what the child reads");
}
