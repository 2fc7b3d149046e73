# The second half of the bootstrap: stage 0 unpacked the packages, here their
# own scripts configure them. Does nothing on a tree that is configured already.
. /.aither/steps/env.sh

# No service is ever started by a package in a build.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d

# What dpkg must know before the first package: which files not to unpack.
# Regular files only, and their modes set here: the folder that they come from
# may have lost them.
(cd $here/rootfs && find . -type f) | sort | while read -r f; do
	mode=0644
	case $f in
	./usr/libexec/*) mode=0755 ;;
	./etc/sudoers.d/*) mode=0440 ;;
	esac
	install -D -m "$mode" "$here/rootfs/$f" "/$f"
done

if [ ! -s /var/lib/dpkg/status ]; then
	say "configuring the bootstrap packages"
	install -d -m 0755 /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/alternatives
	: > /var/lib/dpkg/status
	: > /var/lib/dpkg/available
	# base-files and base-passwd own the files that all others take for granted.
	for first in base-passwd base-files; do
		dpkg --force-depends --install /var/cache/apt/archives/${first}_*.deb
	done
	dpkg --force-depends --install /var/cache/apt/archives/*.deb
	dpkg --configure --pending
	[ -z "$(dpkg --audit)" ] || die "bootstrap left packages unconfigured: $(dpkg --audit)"
	rm -f /var/cache/apt/archives/*.deb
fi
