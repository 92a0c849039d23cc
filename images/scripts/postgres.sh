#!/bin/sh
# Makes a data directory in the working directory, and serves it: postgres.sh BIN PORT
set -e
"$1/initdb" --pgdata=data --auth=trust --username=postgres --no-locale --encoding=UTF8 --no-sync
# no socket in a directory: the path of the working directory may be too long for one
exec "$1/postgres" -D data -k "" -p "$2" -c shared_buffers=256MB \
	-c dynamic_shared_memory_type=mmap -c timezone=GMT
