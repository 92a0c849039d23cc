/* The calls that map memory, and those that show what is mapped. */
#define _GNU_SOURCE
#include "interpreter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

static const struct constant protections[] = {
	{"-", PROT_NONE},
	{"r", PROT_READ},
	{"w", PROT_WRITE},
	{"rw", PROT_READ | PROT_WRITE},
	{"x", PROT_EXEC},
	{"rx", PROT_READ | PROT_EXEC},
	{"rwx", PROT_READ | PROT_WRITE | PROT_EXEC},
	{NULL, 0},
};
/* what is mapped: memory, or the file with that number */
enum { MEMORY, FILE0, FILE1 };
static const struct constant contents[] = {
	{"memory", MEMORY},
	{"file0", FILE0},
	{"file1", FILE1},
	{NULL, 0},
};
static const struct constant map_flags[] = {
	{"private", MAP_PRIVATE},
	{"shared", MAP_SHARED},
	{"fixed", MAP_FIXED},
	{"new", MAP_FIXED_NOREPLACE},
	{"hint", 0},
	{"populate", MAP_POPULATE},
	{"noreserve", MAP_NORESERVE},
	{"locked", MAP_LOCKED},
	{NULL, 0},
};
static const struct constant remap_flags[] = {
	{"stay", 0},
	{"move", MREMAP_MAYMOVE},
	{"fixed", MREMAP_MAYMOVE | MREMAP_FIXED},
	{"copy", MREMAP_MAYMOVE | MREMAP_DONTUNMAP},
	{"fixedcopy", MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP},
	{NULL, 0},
};
static const struct constant advices[] = {
	{"normal", MADV_NORMAL},
	{"random", MADV_RANDOM},
	{"sequential", MADV_SEQUENTIAL},
	{"willneed", MADV_WILLNEED},
	{"dontneed", MADV_DONTNEED},
	{"free", MADV_FREE},
	{"remove", MADV_REMOVE},
	{"dontfork", MADV_DONTFORK},
	{"dofork", MADV_DOFORK},
	{"dontdump", MADV_DONTDUMP},
	{"dodump", MADV_DODUMP},
	{"wipeonfork", MADV_WIPEONFORK},
	{"keeponfork", MADV_KEEPONFORK},
	{"cold", MADV_COLD},
	{"pageout", MADV_PAGEOUT},
	{"populateread", MADV_POPULATE_READ},
	{"populatewrite", MADV_POPULATE_WRITE},
	{NULL, 0},
};
static const struct constant sync_flags[] = {
	{"async", MS_ASYNC},
	{"sync", MS_SYNC},
	{"invalidate", MS_INVALIDATE},
	{NULL, 0},
};
static const struct constant shm_flags[] = {
	{"write", 0},
	{"read", SHM_RDONLY},
	{"replace", SHM_REMAP},
	{NULL, 0},
};

static size_t bytes(const struct step *step, int word)
{
	return (size_t)number(step, word) * page_size();
}

/* A mapping elsewhere cannot be addressed by later steps: remove it. */
static void answer_place(char *at, size_t size)
{
	if (at == MAP_FAILED) {
		answer_result(-1);
		return;
	}
	answer(" at %s", place(at));
	if (!strcmp(place(at), "elsewhere"))
		munmap(at, size);
}

/* map PAGE COUNT PROTECTION CONTENT FLAGS [FIRST PAGE OF THE FILE] */
static void map(const struct step *step)
{
	long content = flags(step, 4, contents), how = flags(step, 5, map_flags);
	off_t offset = content == MEMORY ? 0 : (off_t)bytes(step, 6);
	int file = content == MEMORY ? -1 : file_number(content - FILE0);
	if (content == MEMORY)
		how |= MAP_ANONYMOUS;
	size_t size = bytes(step, 2);
	int protection = (int)flags(step, 3, protections);
	answer_place(mmap(page(step, 1), size, protection, (int)how, file, offset), size);
}

/* unmap PAGE COUNT */
static void unmap(const struct step *step)
{
	answer_result(munmap(page(step, 1), bytes(step, 2)));
}

/* protect PAGE COUNT PROTECTION */
static void protect(const struct step *step)
{
	int protection = (int)flags(step, 3, protections);
	answer_result(mprotect(page(step, 1), bytes(step, 2), protection));
}

/* remap PAGE COUNT NEW_COUNT FLAGS NEW_PAGE */
static void remap(const struct step *step)
{
	size_t size = bytes(step, 3);
	int how = (int)flags(step, 4, remap_flags);
	answer_place(mremap(page(step, 1), bytes(step, 2), size, how, page(step, 5)), size);
}

/* advise PAGE COUNT ADVICE */
static void advise(const struct step *step)
{
	answer_result(madvise(page(step, 1), bytes(step, 2), (int)flags(step, 3, advices)));
}

/* sync PAGE COUNT FLAGS */
static void sync_pages(const struct step *step)
{
	answer_result(msync(page(step, 1), bytes(step, 2), (int)flags(step, 3, sync_flags)));
}

/* lock PAGE COUNT */
static void lock(const struct step *step)
{
	answer_result(mlock(page(step, 1), bytes(step, 2)));
}

/* unlock PAGE COUNT */
static void unlock(const struct step *step)
{
	answer_result(munlock(page(step, 1), bytes(step, 2)));
}

/* resident PAGE COUNT */
static void resident(const struct step *step)
{
	unsigned char vector[AREA_PAGES * 2] = {0};
	if (mincore(page(step, 1), bytes(step, 2), vector)) {
		answer_result(-1);
		return;
	}
	answer(" ");
	for (long n = 0; n < number(step, 2); n++)
		answer("%d", vector[n] & 1);
}

void touch(volatile char *address, bool writes, char value)
{
	fault_expected = 1;
	if (sigsetjmp(fault_jump, 1)) {
		fault_expected = 0;
		return;
	}
	if (writes)
		*address = value;
	char seen = *address;
	fault_expected = 0;
	answer(" %d", seen);
}

/* read PAGE */
static void read_page(const struct step *step)
{
	touch(page(step, 1), false, 0);
}

/* write PAGE VALUE */
static void write_page(const struct step *step)
{
	touch(page(step, 1), true, (char)number(step, 2));
}

/* send PAGE COUNT: the kernel reads the pages */
static void send_pages(const struct step *step)
{
	int pipe_ends[2];
	char value = 0;
	if (pipe(pipe_ends) || fcntl(pipe_ends[1], F_SETFL, O_NONBLOCK))
		reject("it fails", "pipe");
	long sent = write(pipe_ends[1], page(step, 1), bytes(step, 2));
	answer_result(sent);
	if (sent > 0 && read(pipe_ends[0], &value, 1) == 1)
		answer(" %d", value);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
}

/* receive PAGE COUNT FILE FIRST_PAGE: the kernel writes the pages */
static void receive_pages(const struct step *step)
{
	int file = file_number(number(step, 3));
	answer_result(pread(file, page(step, 1), bytes(step, 2), (off_t)bytes(step, 4)));
}

/* copy TO FROM COUNT: the kernel writes and reads pages of this process */
static void copy_pages(const struct step *step)
{
	struct iovec to = {page(step, 1), bytes(step, 3)}, from = {page(step, 2), bytes(step, 3)};
	answer_result(process_vm_readv(getpid(), &to, 1, &from, 1, 0));
}

/* truncate FILE COUNT */
static void truncate_file(const struct step *step)
{
	answer_result(ftruncate(file_number(number(step, 1)), (off_t)bytes(step, 2)));
}

/* punch FILE FIRST_PAGE COUNT */
static void punch(const struct step *step)
{
	int how = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	off_t from = (off_t)bytes(step, 2), size = (off_t)bytes(step, 3);
	answer_result(fallocate(file_number(number(step, 1)), how, from, size));
}

/* put FILE PAGE VALUE */
static void put(const struct step *step)
{
	char value = (char)number(step, 3);
	answer_result(pwrite(file_number(number(step, 1)), &value, 1, (off_t)bytes(step, 2)));
}

/* get FILE PAGE */
static void get(const struct step *step)
{
	char value = 0;
	long result = pread(file_number(number(step, 1)), &value, 1, (off_t)bytes(step, 2));
	answer_result(result);
	if (result > 0)
		answer(" %d", value);
}

/* attach PAGE COUNT FLAGS: a new segment of System V */
static void attach(const struct step *step)
{
	size_t size = bytes(step, 2);
	int segment = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	if (segment < 0) {
		answer_result(-1);
		return;
	}
	char *at = shmat(segment, page(step, 1), (int)flags(step, 3, shm_flags));
	shmctl(segment, IPC_RMID, NULL);
	answer_place(at, size);
}

/* detach PAGE */
static void detach(const struct step *step)
{
	answer_result(shmdt(page(step, 1)));
}

/* maps */
static void show_area(const struct step *step)
{
	(void)step;
	answer_area();
}

/* ---- what the area holds ---- */

/* A mapping in the area, in pages; `name` is empty for memory. */
struct area_map {
	unsigned long from, to, offset;
	char protection[8], name[64];
};

/* Of memory, the kernel may merge neighbours or not: neighbours that look the same are one. */
static bool continues(const struct area_map *before, const struct area_map *next)
{
	bool is_file = before->name[0] != 0;
	return before->to == next->from && !strcmp(before->protection, next->protection) &&
	       !strcmp(before->name, next->name) &&
	       (!is_file || before->offset + before->to - before->from == next->offset);
}

static void answer_map(const struct area_map *map)
{
	if (map->to == map->from)
		return;
	answer(" %lu-%lu%s", map->from, map->to, map->protection);
	if (map->name[0])
		answer("%s@%lu", map->name, map->offset);
}

/* Read a line of maps; tell whether it is of the area. */
static bool read_map(const char *line, struct area_map *map)
{
	unsigned long area = (unsigned long)AREA, size = page_size(), inode;
	unsigned long end = area + 2 * AREA_PAGES * size;
	char name[256] = "";
	*map = (struct area_map){0};
	if (sscanf(line, "%lx-%lx %7s %lx %*s %lu %255s", &map->from, &map->to, map->protection,
		    &map->offset, &inode, name) < 5 ||
		map->to <= area || map->from >= end)
		return false;
	map->from = (map->from - area) / size;
	map->to = (map->to - area) / size;
	map->offset /= size;
	const char *file = strstr(name, "memfd:");
	if (file)
		snprintf(map->name, sizeof map->name, "%s", file + strlen("memfd:"));
	return true;
}

static void answer_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512];
	struct area_map last = {0}, next;
	if (!maps)
		reject("it cannot be opened", "/proc/self/maps");
	while (fgets(line, sizeof line, maps)) {
		if (!read_map(line, &next))
			continue;
		if (continues(&last, &next)) {
			last.to = next.to;
		} else {
			answer_map(&last);
			last = next;
		}
	}
	answer_map(&last);
	fclose(maps);
}

void answer_area(void)
{
	answer_maps();
	answer(" |");
	brief_faults = 1;
	for (int n = 0; n < AREA_PAGES; n++)
		touch(AREA + (size_t)n * page_size(), false, 0);
	brief_faults = 0;
}

const struct call mapping_calls[] = {
	{"map", map},
	{"unmap", unmap},
	{"protect", protect},
	{"remap", remap},
	{"advise", advise},
	{"sync", sync_pages},
	{"lock", lock},
	{"unlock", unlock},
	{"resident", resident},
	{"read", read_page},
	{"write", write_page},
	{"send", send_pages},
	{"receive", receive_pages},
	{"copy", copy_pages},
	{"truncate", truncate_file},
	{"punch", punch},
	{"put", put},
	{"get", get},
	{"attach", attach},
	{"detach", detach},
	{"maps", show_area},
	{NULL, NULL},
};
