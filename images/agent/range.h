/* A range of addresses. */
#ifndef FOOTHOLD_RANGE_H
#define FOOTHOLD_RANGE_H

#include <stdint.h>

/* From START up to, but not including, END. */
struct range {
	uint64_t start, end;
};

#endif
