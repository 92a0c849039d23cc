#!/bin/sh
# @TITLE@
#
# Runs the cell again and prints what the subject does: its output, its maps (/proc/PID/maps) at each
# checkpoint, its system calls, and how it ended. The exit status is that of the subject, or 128 plus
# the number of the signal that ended it. It is 3 if there is no result.
# Needs Linux on @MACHINE@@NEEDS@.
set -u
PATH="${PATH:-/usr/sbin:/usr/bin:/sbin:/bin}"
export PATH
here=$(cd "$(dirname "$0")" && pwd -P) || exit 3
case $here in
*[!A-Za-z0-9/._+-]*)
	printf '%s\n' "repro: the path $here has characters that a kernel's command line cannot hold" \
		"  remedy: move this directory to a path of letters, digits and ._+-" >&2
	exit 3
	;;
esac
work="${TMPDIR:-/tmp}/repro.$$"
(umask 077 && mkdir "$work") || exit 3
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
# Use one processor: a UML kernel and its processes are slower when they move between several.
pin=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/--cpu \1/p' /proc/self/status)

subject() {
	@COMMAND@
}

(subject) 2>"$work/console" </dev/null | tee "$work/report"
end=$(sed -n 's/^=== ended {"status":\([-0-9]*\),"signal":\([0-9]*\).*/\1 \2/p' "$work/report" | tail -n 1)
if [ -z "$end" ]; then
	echo "repro: the subject did not end; output of the guest:" >&2
	cat "$work/console" >&2
	exit 3
fi
printf 'repro: result of the recorded run: %s\n' "$(cat "$here/recorded/result")" >&2
case $end in
-1\ *) exit $((128 + ${end#* })) ;;
*) exit "${end% *}" ;;
esac
