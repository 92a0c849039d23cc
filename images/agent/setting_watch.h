/* Which settings of the kernel a subject writes: sysctls, and those of huge pages in /sys.
 *
 * inotify(7) reports each write into a file of the directories that are watched. To read all
 * settings before and after a subject takes 4 ms in UML, the watch 0.2 ms. A subject that mounts a
 * procfs of its own can write there without an event. */
#ifndef FOOTHOLD_SETTING_WATCH_H
#define FOOTHOLD_SETTING_WATCH_H

#include <stddef.h>

/* Begin to watch. A kernel without inotify reports nothing. */
void setting_watch_begin(void);
/* End the watch. TEXT gets the paths of the files that were written, each once, with a blank before
 * it; a path that has no room is left out. */
void setting_watch_end(char *text, size_t room);

#endif
