# Sourced by every step: one environment, so that a step gives the same bytes
# whoever runs it and whenever.
set -eu
umask 022
export LC_ALL=C.UTF-8 TZ=UTC HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
# Neither root nor an ordinary user makes device nodes or attributes in the
# initramfs: the kernel brings /dev with it, and both get the same archive.
export DRACUT_NO_MKNOD=1 DRACUT_NO_XATTR=1

: "${SOURCE_DATE_EPOCH:?must be set: it is the only clock of this build}"
export SOURCE_DATE_EPOCH

here=/.aither

say() { printf 'aither: %s\n' "$*" >&2; }
die() { printf 'aither: error: %s\n' "$*" >&2; exit 1; }

# list FILE: its lines without comments and blanks.
list() { sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$1"; }
