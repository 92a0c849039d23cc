#!/bin/sh
# @TITLE@
#
# Runs it again and prints what the subject did: its output, its maps (/proc/PID/maps) whenever it
# holds, its system calls, and last how it ended. The exit status is the subject's, 128 and the
# number of a signal that ended it; 3 if there was no answer. Needs Linux on @MACHINE@@NEEDS@.
set -u
PATH="${PATH:-/usr/sbin:/usr/bin:/sbin:/bin}"
export PATH
here=$(cd "$(dirname "$0")" && pwd -P) || exit 3
case $here in
*[!A-Za-z0-9/._+-]*)
	echo "repro: a kernel's command line cannot name $here: move this elsewhere" >&2
	exit 3
	;;
esac
work="${TMPDIR:-/tmp}/repro.$$"
(umask 077 && mkdir "$work") || exit 3
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
# one processor: a UML kernel and its processes would chase each other over several
pin=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/--cpu \1/p' /proc/self/status)

subject() {
	@COMMAND@
}

(subject) 2>"$work/console" </dev/null | tee "$work/report"
end=$(sed -n 's/^=== ended {"status":\([-0-9]*\),"signal":\([0-9]*\).*/\1 \2/p' "$work/report" | tail -n 1)
if [ -z "$end" ]; then
	echo "repro: no answer; what was said:" >&2
	cat "$work/console" >&2
	exit 3
fi
echo "repro: when this was made it came to: @THEN@" >&2
case $end in
-1\ *) exit $((128 + ${end#* })) ;;
*) exit "${end% *}" ;;
esac
