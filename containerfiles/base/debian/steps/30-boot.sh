# Kernel, initramfs and boot loader payload, each where a deployment looks for it.
. /.aither/steps/env.sh

set -- /usr/lib/modules/*/vmlinuz
[ $# -eq 1 ] && [ -f "$1" ] || die "exactly one kernel wanted, found: $*"
kver=$(basename "$(dirname "$1")")

# A real file of its own: packages link it with /boot, which stays empty.
cp "/usr/lib/modules/$kver/vmlinuz" /tmp/vmlinuz
rm -f "/usr/lib/modules/$kver/vmlinuz"
install -m 0644 /tmp/vmlinuz "/usr/lib/modules/$kver/vmlinuz"
rm -f /tmp/vmlinuz
depmod "$kver"

say "making the initramfs for $kver"
dracut --force --no-hostonly --reproducible --kver "$kver" \
	--tmpdir /tmp "/usr/lib/modules/$kver/initramfs.img"
chmod 0644 "/usr/lib/modules/$kver/initramfs.img"

# What must be inside, or the machine does not find its root.
lsinitrd "/usr/lib/modules/$kver/initramfs.img" > /tmp/initramfs.list
for part in \
	usr/lib/ostree/ostree-prepare-root usr/lib/ostree/prepare-root.conf \
	ostree-prepare-root.service \
	virtio_blk.ko virtio_scsi.ko nvme.ko ahci.ko usb-storage.ko uas.ko \
	ext4.ko erofs.ko overlay.ko isofs.ko vfat.ko; do
	grep -q "$part" /tmp/initramfs.list ||
		grep -q "/$part" "/usr/lib/modules/$kver/modules.builtin" ||
		die "the initramfs lacks $part"
done
rm -f /tmp/initramfs.list

# --- boot loader payload, in the places and shapes that bootupd has given them ---
updates=/usr/lib/bootupd/updates
vendor=debian
install -d "$updates/EFI/BOOT" "$updates/EFI/$vendor"

# Everything that the path to our menu needs is built in: no module is ever read
# from the ESP. Debian's own signed image has no reader for boot entries.
modules="part_gpt part_msdos fat ext2 xfs btrfs iso9660 search search_fs_uuid search_label
	search_fs_file normal configfile linux blsuki boot chain echo test true sleep cat ls
	regexp minicmd reboot halt all_video efi_gop gfxterm gfxmenu font terminal serial
	loadenv gzio xzio zstd probe tpm cryptodisk luks luks2 gcry_rijndael gcry_sha256 gcry_sha512
	efifwsetup smbios help"
present=
for m in $modules; do
	[ -f "/usr/lib/grub/x86_64-efi/$m.mod" ] && present="$present $m"
done
grub-mkimage --format=x86_64-efi --prefix="/EFI/$vendor" --sbat=$here/grub/sbat.csv \
	--output=/tmp/grubx64.efi $present
install -m 0644 /tmp/grubx64.efi "$updates/EFI/$vendor/grubx64.efi"
install -m 0644 /tmp/grubx64.efi "$updates/EFI/BOOT/grubx64.efi"
rm -f /tmp/grubx64.efi
install -m 0644 /usr/lib/shim/shimx64.efi.signed "$updates/EFI/$vendor/shimx64.efi"
install -m 0644 /usr/lib/shim/shimx64.efi.signed "$updates/EFI/BOOT/BOOTX64.EFI"
install -m 0644 /usr/lib/shim/mmx64.efi.signed "$updates/EFI/$vendor/mmx64.efi"
install -m 0644 /usr/lib/shim/BOOTX64.CSV "$updates/EFI/$vendor/BOOTX64.CSV"

stamp=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
grub=$(dpkg-query -W -f '${Version}' grub-efi-amd64-unsigned)
shim=$(dpkg-query -W -f '${Version}' shim-signed)
printf '{"timestamp":"%s","version":"grub-efi-amd64-%s,shim-signed-%s"}\n' \
	"$stamp" "$grub" "$shim" > "$updates/EFI.json"
printf '{"timestamp":"%s","version":"grub-pc-%s"}\n' "$stamp" "$grub" > "$updates/BIOS.json"

# The EFI modules have done their work; the BIOS ones are read at boot.
rm -rf /usr/lib/grub/x86_64-efi
rm -f /usr/lib/grub/i386-pc/*_test.mod
rm -f /boot/* /vmlinuz* /initrd.img*
