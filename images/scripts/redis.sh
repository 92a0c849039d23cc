#!/bin/sh
# Loads 16 MiB of keys by a script in a log of commands, and serves them: redis.sh BIN PORT
set -e
mkdir appendonlydir
echo 'file keys type i seq 1' > appendonlydir/log.manifest
script='for i = 1, 4096 do redis.call("SET", "key" .. i, string.rep("x", 4096)) end'
printf '*3\r\n$4\r\nEVAL\r\n$%d\r\n%s\r\n$1\r\n0\r\n' "${#script}" "$script" > appendonlydir/keys
exec "$1/redis-server" --bind 127.0.0.1 --port "$2" --save "" \
    --appendonly yes --appenddirname appendonlydir --appendfilename log
