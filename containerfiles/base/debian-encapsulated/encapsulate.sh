# The tree as one commit, and the commit as an image with chunk layers.
set -eu
umask 022
export LC_ALL=C TZ=UTC
: "${SOURCE_DATE_EPOCH:?must be set: it is the only clock of this build}"

# Only etc moves; the copy keeps owners, modes, links and capabilities.
mkdir /stage
(cd /tree && find . -mindepth 1 -maxdepth 1 ! -name proc ! -name sys ! -name dev ! -name run ! -name tmp \
	-exec cp -a {} /stage/ \;)
for d in proc sys dev run; do install -d -m 0755 "/stage/$d"; done
install -d -m 1777 /stage/tmp
mv /stage/etc /stage/usr/etc
# What a build container leaves of its own mounts.
for f in hostname resolv.conf; do
	[ -s "/stage/usr/etc/$f" ] || rm -f "/stage/usr/etc/$f"
done

ostree --repo=/repo init --mode=bare-user
ostree --repo=/repo commit --branch=lab --subject= --timestamp="@$SOURCE_DATE_EPOCH" --bootable \
	--selinux-policy=/stage --selinux-labeling-epoch=1 --tree=dir=/stage

# Which object belongs to which chunk: by what changes together.
ostree --repo=/repo ls -R -C lab | awk '
	function chunk(path) {
		if (path ~ /^\/usr\/lib\/modules\//) return "kernel"
		if (path ~ /^\/usr\/(s?bin|libexec)\//) return "programs"
		if (path ~ /^\/usr\/lib\/(x86_64|aarch64)-linux-gnu\//) return "libraries"
		if (path ~ /^\/usr\/lib\/systemd\//) return "systemd"
		if (path ~ /^\/usr\/share\//) return "data"
		if (path ~ /^\/usr\/etc\//) return "configuration"
		return "unpackaged"
	}
	# type+mode uid gid size checksum path; folders have two checksums
	$1 ~ /^[-l]/ && !($5 in seen) {
		seen[$5] = 1
		printf "%s\"%s\":\"%s\"", n++ ? "," : "", $5, chunk($6)
	}' > /tmp/mapping
created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
layers=
for c in kernel programs libraries systemd data configuration unpackaged; do
	layers="$layers${layers:+,}\"$c\":\"$c\""
done
printf '{"version":1,"created":"%s","layers":{%s},"mapping":{%s},"labels":{}}\n' \
	"$created" "$layers" "$(cat /tmp/mapping)" > /tmp/contentmeta.json

set --
for l in ${IMAGE_LABELS-}; do
	set -- "$@" --label "$l"
done
mkdir /layout
encapsulate container encapsulate --repo=/repo --contentmeta=/tmp/contentmeta.json --compression-fast \
	--label containers.bootc=1 --label ostree.bootable=1 "$@" \
	--copymeta-opt ostree.linux --cmd /sbin/init lab oci:/layout:latest
rm -rf /stage /repo /tmp/mapping /tmp/contentmeta.json
