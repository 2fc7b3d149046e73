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
	cp -a /var/lib/selinux/default/. /etc/selinux/default/
	rm -rf /var/lib/selinux
fi
grep -q '^store-root' /etc/selinux/semanage.conf ||
	printf '\nstore-root = /etc/selinux\n' >> /etc/selinux/semanage.conf
find /etc/selinux -name '*.LOCK' -delete
rm -rf /etc/selinux/final
sed -i -e 's/^SELINUX=.*/SELINUX=permissive/' -e 's/^SELINUXTYPE=.*/SELINUXTYPE=default/' /etc/selinux/config

# --- accounts -----------------------------------------------------------------
# The day of the last password change is the day of the image.
day=$((SOURCE_DATE_EPOCH / 86400))
sed -i -E "s/^([^:]*:[^:]*):[0-9]*:/\1:$day:/" /etc/shadow
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid- /etc/.pwd.lock
# Every account that a package made, with its number, in the words of sysusers:
# a machine whose /etc lost one gets the same one back.
{
	echo "# Made from /etc/passwd and /etc/group when the image was built."
	sort -t: -k3,3n /etc/group | while IFS=: read -r name _ gid _; do
		if [ "$gid" -lt 1000 ] && [ "$gid" -gt 0 ]; then printf 'g %s %s\n' "$name" "$gid"; fi
	done
	sort -t: -k3,3n /etc/passwd | while IFS=: read -r name _ uid gid gecos home shell; do
		if [ "$uid" -lt 1000 ] && [ "$uid" -gt 0 ]; then
			printf 'u %s %s:%s "%s" %s %s\n' "$name" "$uid" "$gid" "${gecos%%,*}" "$home" "$shell"
		fi
	done
} > /usr/lib/sysusers.d/aither-accounts.conf

# --- what belongs to one machine, one boot or one build ---------------------------
rm -f /etc/ssh/ssh_host_* /etc/hostname /etc/fstab /etc/.resolv.conf.systemd-resolved.bak
rm -f /etc/initramfs-tools/update-initramfs.conf
rmdir /etc/initramfs-tools 2> /dev/null || :
rm -f /usr/sbin/policy-rc.d /etc/.updated /var/.updated
: > /etc/machine-id
chmod 0444 /etc/machine-id
rm -rf /root/.[!.]* /root/* /home/* /srv/* /mnt/* /opt/* /media/*
rm -rf /tmp/* /tmp/.[!.]* /run/* /boot/*

# --- files that a machine which is replaced as a whole does not read ---------------
find /usr/share/doc -type f ! -name copyright -delete
find /usr/share/doc -type l -xtype l -delete
find /usr/share/doc -type d -empty -delete
rm -rf /usr/share/man /usr/share/info /usr/share/lintian /usr/share/bash-completion \
	/usr/share/zsh /usr/share/fish /usr/share/bug /usr/share/doc-base /usr/share/menu /usr/share/pixmaps
find /usr/share/locale -mindepth 1 -maxdepth 1 ! -name locale.alias -exec rm -rf {} +
find / -xdev -type d -name __pycache__ -prune -exec rm -rf {} +

# --- package state: into /usr, so that it describes the /usr beside it --------------
state=/usr/lib/aither/package-state
install -d -m 0755 "$state" "$state/systemd"
rm -rf /var/lib/dpkg/*-old /var/lib/dpkg/lock* /var/lib/dpkg/triggers/Lock /var/lib/dpkg/alternatives.tar* \
	/var/lib/dpkg/updates/* /var/lib/ucf/*.[0-9] /var/lib/ucf/cache /var/lib/sgml-base/*.old
links=/usr/lib/tmpfiles.d/20-aither-package-state.conf
echo "# The package tools' state is read-only content of the image." > "$links"
for d in dpkg pam ucf sgml-base xml-core systemd/deb-systemd-helper-enabled \
	systemd/deb-systemd-user-helper-enabled systemd/deb-systemd-helper-masked shells.state; do
	[ -e "/var/lib/$d" ] || continue
	mv "/var/lib/$d" "$state/$d"
	printf 'L /var/lib/%s - - - - %s\n' "$d" "$state/$d" >> "$links"
done
# The journal's message catalogue is a function of /usr: made once, here.
install -d -m 0755 /var/lib/systemd/catalog
if [ -s /var/lib/systemd/catalog/database ]; then
	mv /var/lib/systemd/catalog/database /usr/lib/systemd/catalog/database
	echo 'L /var/lib/systemd/catalog/database - - - - /usr/lib/systemd/catalog/database' >> "$links"
fi

# --- /var: its folders as tmpfiles, then empty --------------------------------------
rm -rf /var/cache/* /var/log/* /var/backups/* /var/tmp/* /var/lib/apt /var/lib/wtmpdb/* \
	/var/lib/dbus/machine-id /var/lib/systemd/random-seed /var/lib/dracut /var/lib/grub
folders=/usr/lib/tmpfiles.d/30-aither-package-folders.conf
{
	echo "# Folders that packages had in /var, made from the tree when the image was built."
	find /var -xdev -mindepth 1 -type d -printf '%p %m %u %g\n' | LC_ALL=C sort |
		while read -r path mode user group; do
			# What a package's own file makes is not said twice.
			grep -q -s -E "^[dDqQvCe][-!+=~^\$]*[[:space:]]+$path/?[[:space:]]" \
				/usr/lib/tmpfiles.d/[!1-3]*.conf && continue
			printf 'd %s %04d %s %s -\n' "$path" "$mode" "$user" "$group"
		done
	find /var -xdev -mindepth 1 -type l -printf '%p %l\n' | LC_ALL=C sort |
		while read -r path target; do
			[ "$path" = /var/run ] && continue
			printf 'L %s - - - - %s\n' "$path" "$target"
		done
	# apt wants these before it can read a list.
	echo 'd /var/lib/apt 0755 root root -'
	echo 'd /var/lib/apt/lists 0755 root root -'
	echo 'd /var/lib/apt/lists/partial 0755 root root -'
	echo 'd /var/cache/apt 0755 root root -'
	echo 'd /var/cache/apt/archives 0755 root root -'
	echo 'd /var/cache/apt/archives/partial 0755 root root -'
	echo 'd /var/log/apt 0755 root root -'
	echo 'd /var/cache/debconf 0755 root root -'
} > "$folders"
find /var -xdev -type f > /tmp/left
[ ! -s /tmp/left ] || die "files under /var that nothing would bring back: $(cat /tmp/left)"
find /var -xdev -mindepth 1 -delete
rm -f /tmp/left

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
install -d -m 0755 /sysroot /boot /var /proc /sys /dev /run
install -d -m 1777 /tmp
chmod 1777 /tmp

# This step's own source is the last thing to go, with the step that reads it.
