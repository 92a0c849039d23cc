#!/bin/sh
# Makes a data directory in the working directory, and serves it: postgres.sh BIN PORT
set -e
"$1/initdb" --pgdata=data --auth=trust --username=postgres --no-locale --encoding=UTF8 --no-sync
exec "$1/postgres" -D data -k "$PWD" -p "$2" -c shared_buffers=256MB -c timezone=GMT
