package blueprint

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Bounds of sizes that a blueprint may ask for.
const (
	minESP  = 64 * MiB  // FAT32 has at least 65 525 clusters
	minBoot = 256 * MiB // two kernels with their initramfs and little else
	minRoot = 1 * GiB
	// What the planner's rules come to for small images.
	usualESP, usualBoot, usualRoot = 512 * MiB, 2 * GiB, 2 * GiB
	maxSize                        = 16 * TiB // what ext4 with blocks of 4 KiB and 32-bit numbers holds
)

var (
	fatLabelForm  = regexp.MustCompile(`^[A-Z0-9_-]{1,11}$`)
	ext4LabelForm = regexp.MustCompile(`^[A-Za-z0-9_.+-]{1,16}$`)
)

// otherFileSystems are refused by name.
var otherFileSystems = []string{"xfs", "btrfs", "f2fs", "zfs", "ext2", "ext3", "vfat", "swap", "none"}

func (c *checker) disk(d Disk) {
	c.oneOf(d.Layout, key("disk", "layout"), LayoutUnified, LayoutSeparateBoot)
	c.fileSystem(d.RootFS, key("disk", "rootfs"), "ext4")
	c.size(d.Size, key("disk", "size"), minESP+minRoot)
	c.size(d.ESPSize, key("disk", "esp_size"), minESP)
	c.size(d.BootSize, key("disk", "boot_size"), minBoot)
	c.size(d.RootSize, key("disk", "root_size"), minRoot)
	c.size(d.RootFree, key("disk", "root_free"), 0)
	for _, name := range []string{"boot_size", "boot_label"} {
		if c.doc.root.has("disk", name) && d.Layout != LayoutSeparateBoot {
			c.keyf(key("disk", name), "conflict", `set disk.layout = "separate-boot"`, "disk.%s means nothing: /boot is part of the root file system", name)
		}
	}
	c.labels(d)
}

// labels checks that each label suits its file system and that no two are alike:
// the boot loader and fstab find file systems by them.
func (c *checker) labels(d Disk) {
	c.fatLabel(d.ESPLabel, key("disk", "esp_label"))
	c.label(d.BootLabel, key("disk", "boot_label"))
	c.label(d.RootLabel, key("disk", "root_label"))
	names := []string{"esp_label", "boot_label", "root_label"}
	c.unique([]string{d.ESPLabel, d.BootLabel, d.RootLabel}, func(i int) place { return key("disk", names[i]) }, "label")
}

func (c *checker) fatLabel(label string, w place) {
	if !c.given(label, w) || fatLabelForm.MatchString(label) {
		return
	}
	hint := "use up to 11 capital letters, digits, \"-\" and \"_\""
	if upper := strings.ToUpper(label); fatLabelForm.MatchString(upper) {
		hint = "did you mean " + strconv.Quote(upper) + "?"
	}
	c.errorf(w, "bad-label", hint, "%q is no label of a FAT file system", label)
}

func (c *checker) label(label string, w place) {
	if c.given(label, w) && !ext4LabelForm.MatchString(label) {
		c.errorf(w, "bad-label", "use up to 16 letters, digits, \"-\", \"_\", \".\" and \"+\"", "%q is no label of an ext4 file system", label)
	}
}

// fileSystem reports a type other than the one that is made there.
func (c *checker) fileSystem(value string, w place, only string) {
	if value != only && slices.Contains(append(slices.Clone(otherFileSystems), "ext4"), value) {
		c.errorf(w, "unsupported", "leave it out or write "+strconv.Quote(only), "%q cannot be %q here", w, value)
		return
	}
	c.oneOf(value, w, only)
}

func (c *checker) size(size *Size, w place, least Size) {
	switch {
	case size == nil || c.doc.root.has(w...) && !c.readSize(w):
	case *size < least:
		c.errorf(w, "bad-size", "at least "+least.String(), "%q is too small: %s", w, *size)
	case *size > maxSize:
		c.errorf(w, "bad-size", "at most "+maxSize.String(), "%q is too large: %s", w, *size)
	}
}

// readSize reports whether the value at w was read as a size.
func (c *checker) readSize(w place) bool {
	n := c.doc.root.at(w...)
	if n.kind == kindInteger {
		return n.integer >= 0
	}
	_, err := ParseSize(n.text)
	return n.kind == kindString && err == nil
}

// wholeDisk checks what [disk], the customizations and the defaults make together:
// that labels differ, and that the partitions fit on the disk.
func (c *checker) wholeDisk(b *Blueprint) {
	d := defaultDisk()
	d.apply(b.Disk)
	d.customize(b.Customizations)
	if b.Disk.RootLabel == "boot" && b.Disk.BootLabel == "" {
		c.errorf(key("disk", "root_label"), "duplicate", "choose another", "%q is the label of /boot", d.RootLabel)
	}
	if b.Disk.Size == nil || *b.Disk.Size < minESP+minRoot {
		return
	}
	sum := max(d.ESPSize, usualESP) + max(d.RootSize, usualRoot) + 4*MiB
	if d.Layout == LayoutSeparateBoot {
		sum += max(d.BootSize, usualBoot)
	}
	if sum > *b.Disk.Size {
		c.errorf(key("disk", "size"), "does-not-fit", "give the disk at least "+sum.String(), "the partitions need %s, more than the disk's %s", sum, *b.Disk.Size)
	}
}

func (c *checker) filesystems(list []Filesystem, layout string) {
	w := key("customizations", "filesystem")
	for i, f := range list {
		at := w.to(i)
		if c.need(f.Mountpoint, at.to("mountpoint"), `"/" or "/boot"`) && f.Mountpoint != "/" && f.Mountpoint != "/boot" {
			c.errorf(at.to("mountpoint"), "bad-mountpoint", "only \"/\" and \"/boot\" have sizes here",
				"%q has no file system of its own", f.Mountpoint)
		}
		if f.Mountpoint == "/boot" && layout == LayoutUnified {
			c.errorf(at.to("mountpoint"), "conflict", `set disk.layout = "separate-boot"`, "/boot is part of the root file system")
		}
		if f.MinSize != nil && f.Size != nil {
			c.keyf(at.to("size"), "conflict", "keep minsize", "size is the old name of minsize")
		}
		if f.MinSize == nil && f.Size == nil {
			c.errorf(at.to("minsize"), "missing-key", `write minsize = "20 GiB"`, "%q is missing", at.to("minsize"))
		}
		c.size(f.MinSize, at.to("minsize"), 1)
		c.size(f.Size, at.to("size"), 1)
	}
	c.unique(mapped(list, func(f Filesystem) string { return f.Mountpoint }), func(i int) place { return w.to(i, "mountpoint") }, "mount point")
}

// mapped is f of every element.
func mapped[T, U any](list []T, f func(T) U) []U {
	out := make([]U, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}

func (c *checker) partitions(d *DiskCustomization, layout string) {
	if d == nil {
		return
	}
	w := key("customizations", "disk")
	if d.Type == "dos" {
		c.errorf(w.to("type"), "unsupported", "leave it out or write \"gpt\"", "partition tables are GPT only")
	} else {
		c.oneOf(d.Type, w.to("type"), "gpt")
	}
	c.size(d.MinSize, w.to("minsize"), 1)
	for i, part := range d.Partitions {
		c.partition(part, w.to("partitions", i), layout)
	}
	c.unique(mapped(d.Partitions, func(p Partition) string { return p.Mountpoint }), func(i int) place { return w.to("partitions", i, "mountpoint") }, "mount point")
	c.unique(mapped(d.Partitions, func(p Partition) string { return p.Label }), func(i int) place { return w.to("partitions", i, "label") }, "label")
}

// systemFileSystems are the mount points that every disk has, with their type.
var systemFileSystems = map[string]string{"/": "ext4", "/boot": "ext4", "/boot/efi": "vfat"}

func (c *checker) partition(part Partition, w place, layout string) {
	if part.Type == "lvm" || part.Type == "btrfs" {
		c.errorf(w.to("type"), "unsupported", "use plain partitions with ext4", "%s is not supported", part.Type)
		return
	}
	c.oneOf(part.Type, w.to("type"), "plain")
	if part.MinSize == nil {
		c.errorf(w.to("minsize"), "missing-key", `write minsize = "20 GiB"`, "%q is missing", w.to("minsize"))
	}
	c.size(part.MinSize, w.to("minsize"), 1)
	if part.FSType == "swap" {
		c.errorf(w.to("fs_type"), "unsupported", "use zram, or a swap file made at first boot", "swap partitions are not supported")
		return
	}
	if !c.need(part.Mountpoint, w.to("mountpoint"), `"/", "/boot" or a folder below /var`) {
		return
	}
	only, ok := systemFileSystems[part.Mountpoint]
	if !ok {
		c.mountpoint(part.Mountpoint, w.to("mountpoint"))
		return
	}
	if part.Mountpoint == "/boot" && layout == LayoutUnified {
		c.errorf(w.to("mountpoint"), "conflict", `set disk.layout = "separate-boot"`, "/boot is part of the root file system")
	}
	c.fileSystem(part.FSType, w.to("fs_type"), only)
	if only == "ext4" {
		c.label(part.Label, w.to("label"))
	} else {
		c.fatLabel(part.Label, w.to("label"))
	}
}

// mountpoint refuses the mount point of a further partition.
func (c *checker) mountpoint(at string, w place) {
	if clean := cleanAbsolute(at); clean != at {
		c.errorf(w, "bad-mountpoint", "did you mean "+strconv.Quote(clean)+"?", "%q is not an absolute path in its shortest form", at)
		return
	}
	c.errorf(w, "unsupported", "the root grows to the whole disk; make further file systems on the machine with systemd-repart",
		"a partition for %q is not supported", at)
}
