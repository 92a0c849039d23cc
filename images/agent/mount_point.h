/* Places at which something can be mounted. */
#ifndef FOOTHOLD_MOUNT_POINT_H
#define FOOTHOLD_MOUNT_POINT_H

#include <stdbool.h>

/* Make all directories above PATH, below ROOT, and an empty file or DIRECTORY for PATH itself.
 * What exists stays as it is. */
void make_mount_point(const char *root, const char *path, bool directory);

#endif
