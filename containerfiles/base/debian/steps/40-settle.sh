# From a package installation to an image: state out of /var, nothing that
# belongs to one machine, nothing that differs between two builds.
. /.aither/steps/env.sh

# --- services -----------------------------------------------------------------
# Only what the preset names: the rest stays as the packages left it.
while read -r verb unit; do
	case $verb in
	enable | disable) systemctl --quiet "$verb" "$unit" ;;
	esac
done < /usr/lib/systemd/system-preset/10-aither.preset
systemctl --quiet set-default multi-user.target

# --- name ---------------------------------------------------------------------
# ID stays: it is what other tools decide by.
sed -i -e '/^PRETTY_NAME=/d' -e '/^NAME=/d' -e '/^VARIANT/d' -e '/^DEFAULT_HOSTNAME=/d' /usr/lib/os-release
codename=$(sed -n 's/^VERSION_CODENAME=//p' /usr/lib/os-release)
cat >> /usr/lib/os-release <<OS
NAME="AitherOS Lab"
PRETTY_NAME="AitherOS Lab (Debian $codename)"
VARIANT="Lab"
VARIANT_ID=aither-lab
DEFAULT_HOSTNAME=aither
OS

# --- mandatory access control ---------------------------------------------------
# The module store lives beside the policy, as on other bootable bases: a later
# upgrade refreshes it inside the new deployment, where /var is not the image's.
if [ -d /var/lib/selinux/default ]; then
	# Its own mode is 0700, the policy's folder is everyone's to read.
	cp -a /var/lib/selinux/default/* /etc/selinux/default/
	rm -rf /var/lib/selinux
fi
grep -q '^store-root' /etc/selinux/semanage.conf ||
	printf '\nstore-root = /etc/selinux\n' >> /etc/selinux/semanage.conf
find /etc/selinux -name '*.LOCK' -delete
rm -rf /etc/selinux/final
sed -i -e 's/^SELINUX=.*/SELINUX=permissive/' -e 's/^SELINUXTYPE=.*/SELINUXTYPE=default/' /etc/selinux/config

# --- accounts, package state, /var -------------------------------------------------
rm -f /etc/fstab
rm -rf /root/.[!.]* /root/* /home/* /srv/* /mnt/* /opt/* /media/*
/usr/libexec/aither/packages close

# --- the root of a deployment ---------------------------------------------------
link() { # link NAME TARGET: the folder NAME becomes a link
	rm -rf "$1"
	ln -s "$2" "$1"
}
link /home var/home
link /root var/roothome
link /opt var/opt
link /srv var/srv
link /mnt var/mnt
link /media run/media
link /usr/local ../var/usrlocal
link /ostree sysroot/ostree
# Made where missing, and never touched where a build has its mounts.
for d in sysroot boot var proc sys dev run; do
	[ -d "/$d" ] || install -d -m 0755 "/$d"
done
chmod 1777 /tmp
