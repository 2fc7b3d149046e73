# The shape that later stages and later upgrades rely on. A tree that fails here
# would boot, or not, in ways that are hard to find: so the build fails instead.
. /.aither/steps/env.sh

fail=0
want() { # want WHAT COMMAND...: the command must succeed
	what=$1
	shift
	"$@" > /dev/null 2>&1 || { printf 'aither: the tree is wrong: %s\n' "$what" >&2; fail=1; }
}
empty() { [ -z "$(find "$1" -mindepth 1 -print -quit)" ]; }
points() { [ "$(readlink "$1")" = "$2" ]; }
none() { [ -z "$(find / -xdev -path /.aither -prune -o -path /proc -prune -o -path /sys -prune -o "$@" -print -quit)" ]; }

set -- /usr/lib/modules/*
want "one folder under /usr/lib/modules" [ $# -eq 1 ]
want "kernel is a regular file with one name" [ "$(stat -c '%F %h' "$1/vmlinuz")" = "regular file 1" ]
want "initramfs is a regular file" [ "$(stat -c %F "$1/initramfs.img")" = "regular file" ]
want "/boot is empty" empty /boot
want "/var is empty" empty /var
want "machine-id is empty" [ ! -s /etc/machine-id ]
want "no ssh host keys" none -name 'ssh_host_*'
want "no random seed" none -name random-seed
want "no package cache" none -name '*.deb'
want "no compiled Python" none -name '*.pyc'
for l in home:var/home root:var/roothome opt:var/opt srv:var/srv mnt:var/mnt \
	usr/local:../var/usrlocal ostree:sysroot/ostree; do
	want "/${l%%:*} is a link to ${l#*:}" points "/${l%%:*}" "${l#*:}"
done
for p in bwrap semodule skopeo podman ostree sfdisk resize2fs mount.composefs; do
	want "$p is there" sh -c "command -v $p"
done
want "composefs is enabled" grep -q '^enabled = yes' /usr/lib/ostree/prepare-root.conf
want "policy is installed" [ -s /etc/selinux/default/contexts/files/file_contexts ]
want "policy is readable for services" [ "$(stat -c %a /etc/selinux/default)" = 755 ]
want "policy store beside the policy" [ -d /etc/selinux/default/active/modules ]
want "package database under /usr" [ -s /usr/lib/aither/package-state/dpkg/status ]
for f in EFI.json BIOS.json EFI/BOOT/BOOTX64.EFI EFI/debian/shimx64.efi EFI/debian/grubx64.efi; do
	want "boot loader payload $f" [ -s "/usr/lib/bootupd/updates/$f" ]
done
for f in boot.img diskboot.img kernel.img lzma_decompress.img moddep.lst blsuki.mod; do
	want "BIOS boot loader $f" [ -s "/usr/lib/grub/i386-pc/$f" ]
done
want "tmpfiles.d is well formed" systemd-tmpfiles --create --dry-run --prefix=/var
[ "$fail" -eq 0 ] || die "the tree is not fit to be an image"

rm -rf /.aither
