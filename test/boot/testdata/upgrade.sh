#!/bin/bash
# Runs in the guest, once in each of three boots: deploys a changed tree, finds
# itself in it, rolls back, and finds itself where it began. Tells the check port.
set -u
export LC_ALL=C.UTF-8
exec 3> /dev/virtio-ports/org.aitheros.check
state=/var/lib/aither-upgrade
mkdir -p "$state"

say() { # NAME OK DETAIL
	local text=${3:0:700}
	text=${text//\\/ }
	printf '{"check":"%s","ok":%s,"detail":"%s"}\n' "$1" "$2" "$(tr '\n"' '  ' <<< "$text" | tr -cd '[:print:]')" >&3
	[ "$2" = true ] || failed=1
}
end() { # pass or fail
	printf '{"verdict":"%s"}\n' "$1" >&3
	exit 0
}
check() { # NAME COMMAND...
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then say "$name" true "$out"; else say "$name" false "$out"; fi
}
booted() { ostree admin status | sed -n 's/^\* default //p'; }
same() { echo "$1, expected $2"; [ "$1" = "$2" ]; }
differ() { echo "$1, was $2"; [ -n "$1" ] && [ "$1" != "$2" ]; }
finalized() {
	systemctl --failed --plain --no-legend
	[ -z "$(systemctl --failed --plain --no-legend)" ] && systemctl show -p Result --value ostree-boot-complete.service | grep -x success
}

deploy() {
	mkdir -p /var/tmp/next/usr/lib && echo next > /var/tmp/next/usr/lib/aither-next || return 1
	# shellcheck disable=SC2016
	unshare --mount sh -ec '
		mount -o remount,rw /sysroot
		ostree --repo=/sysroot/ostree/repo commit --branch=aither/next --selinux-policy-from-base \
			--owner-uid=0 --owner-gid=0 --tree="ref=$1" --tree=dir=/var/tmp/next' sh "${1%.*}" || return 1
	ostree admin deploy --stage --os=default aither/next
}

failed=0
systemctl is-system-running --wait > /dev/null
now=$(booted)
case $(cat "$state/stage" 2> /dev/null) in
'')
	echo "$now" > "$state/first"
	echo changed > /etc/aither-kept
	check upgrade-staged deploy "$now"
	echo 1 > "$state/stage"
	;;
1)
	check upgrade-booted differ "$now" "$(cat "$state/first")"
	check upgrade-tree cat /usr/lib/aither-next
	check upgrade-etc-kept cat /etc/aither-kept
	check upgrade-finalized finalized
	check rollback-queued ostree admin set-default 1
	echo 2 > "$state/stage"
	;;
2)
	check rollback-booted same "$now" "$(cat "$state/first")"
	check rollback-tree test ! -e /usr/lib/aither-next
	check rollback-finalized finalized
	check objects ostree fsck --quiet
	[ "$failed" = 0 ] && end pass
	;;
esac
sync
[ "$failed" = 0 ] || end fail
systemctl reboot
