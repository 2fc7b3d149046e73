package main

import (
	"strings"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/layer/layertest"
)

// writeFixture writes the OCI layout of a very small image that can be deployed
// on a disk. It would not boot: its kernel is a text.
func writeFixture(t testing.TB, dir string) {
	t.Helper()
	var base []layertest.Entry
	for _, d := range strings.Fields("usr usr/bin usr/lib usr/lib/modules usr/lib/modules/6.1.0 usr/lib/ostree usr/lib/tmpfiles.d usr/share etc var boot sysroot run proc sys dev") {
		base = append(base, layertest.Dir(d, 0o755))
	}
	base = append(base, layertest.Dir("tmp", 0o1777),
		layertest.Link("ostree", "sysroot/ostree"), layertest.Link("bin", "usr/bin"),
		layertest.File("usr/lib/os-release", 0o644, "NAME=\"Test\"\nID=test\nPRETTY_NAME=\"Test Linux 1\"\nVERSION_ID=1\n"),
		layertest.Link("etc/os-release", "../usr/lib/os-release"),
		layertest.File("usr/lib/modules/6.1.0/vmlinuz", 0o755, strings.Repeat("KERNEL", 100)),
		layertest.File("usr/lib/modules/6.1.0/initramfs.img", 0o600, strings.Repeat("INITRD", 200)),
		layertest.File("usr/lib/ostree/prepare-root.conf", 0o644, "[composefs]\nenabled = yes\n"),
		layertest.File("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\n"), layertest.File("etc/group", 0o644, "root:x:0:\n"),
		layertest.File("etc/machine-id", 0o444, ""),
		layertest.File("etc/selinux/config", 0o644, "SELINUX=permissive\nSELINUXTYPE=test\n"),
		layertest.File("etc/selinux/test/contexts/files/file_contexts", 0o644, "/.*\tsystem_u:object_r:default_t:s0\n"),
	)
	boot := []layertest.Entry{
		layertest.File("usr/lib/bootc/kargs.d/10-quiet.toml", 0o644, "kargs = [\"quiet\"]\n"),
		layertest.File("usr/lib/bootupd/updates/EFI/BOOT/BOOTX64.EFI", 0o755, "shim"),
		layertest.File("usr/lib/bootupd/updates/EFI/test/shimx64.efi", 0o755, "shim"),
		layertest.File("usr/lib/bootupd/updates/EFI/test/grubx64.efi", 0o755, "grub"),
		layertest.File("usr/lib/bootupd/updates/EFI.json", 0o644, `{"timestamp":"2024-01-01T00:00:00Z","version":"grub-2.14"}`),
		layertest.File("usr/lib/bootupd/grub2-static/grub-static-efi.cfg", 0o644, "efi\n"),
		layertest.File("usr/lib/bootupd/grub2-static/grub-static-pre.cfg", 0o644, "pre\n"),
		layertest.File("usr/lib/bootupd/grub2-static/configs.d/10_blscfg.cfg", 0o644, "blscfg\n"),
	}
	layertest.Write(t, dir, layertest.Image{
		Labels: map[string]string{"containers.bootc": "1", "ostree.bootable": "1"}, Created: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC),
		Layers: []layertest.Layer{{Tar: layertest.Tar(t, base...), Compression: "gzip"}, {Tar: layertest.Tar(t, boot...), Compression: "zstd"}},
	})
}
