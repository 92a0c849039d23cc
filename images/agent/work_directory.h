/* The working directory of a subject: empty but for copies of the files that it was given. At the
 * end, the files that the subject has written there are sent. A directory that is made here is in
 * the root of the subject (subject_root.h), or in a container, and vanishes with it. On native the
 * harness makes it, and only the files are sent. */
#ifndef FOOTHOLD_WORK_DIRECTORY_H
#define FOOTHOLD_WORK_DIRECTORY_H

#include <stddef.h>
#include <sys/types.h>

/* Make the directory PLACE, of this user and group, with copies of all in the directory FILES
 * (NULL: of nothing). It must not exist. Returns 0 or a negative errno. */
int work_directory_make(const char *place, const char *files, uid_t uid, gid_t gid);
/* Send the regular files in PLACE that are not unchanged copies of those in FILES, as
 * FRAME_FILE: bounded in number and size. */
void work_directory_send(const char *place, const char *files);

#endif
