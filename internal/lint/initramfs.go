package lint

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// An initramfs is what matters of its members.
type initramfs struct {
	modules     map[string]bool // kernel modules by name
	prepareRoot bool            // the program
	unit        bool            // and the unit that starts it
	conf        map[string][]byte
}

// initramfsParts looks whether the initramfs can bring up a deployment: dracut's
// ostree module, the drivers of composefs and of the root file system, and the
// configuration, which counts in the initramfs and not in the image.
func initramfsParts(p *pass) {
	whole, _ := p.kernels()
	if len(whole) != 1 {
		return // two-kernels tells it
	}
	dir := path.Join(modulesDir, whole[0])
	at := dir + "/initramfs.img"
	e, ok := p.follow(at)
	if !ok {
		at = dir + "/initramfs"
		e, ok = p.follow(at)
	}
	if !ok || !e.Mode.IsRegular() || e.Content == nil {
		return
	}
	im, err := openInitramfs(e.Content)
	if errors.Is(err, errCpio) {
		p.report(at, err.Error(), "make it again with dracut")
		return
	}
	if err != nil {
		p.fail(at, err)
		return
	}
	builtin, _ := p.read(dir + "/modules.builtin")
	for line := range strings.Lines(string(builtin)) {
		im.modules[moduleName(strings.TrimSpace(line))] = true
	}
	im.check(p, at)
	im.checkConf(p, at)
}

func openInitramfs(c tree.Content) (im initramfs, err error) {
	r, err := c.Open()
	if err != nil {
		return im, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	im = initramfs{modules: map[string]bool{}, conf: map[string][]byte{}}
	err = readInitramfs(r, func(m member) error {
		name := strings.TrimPrefix(path.Clean("/"+m.Name), "/")
		base := path.Base(name)
		switch {
		case base == "ostree-prepare-root":
			im.prepareRoot = true
		case base == "ostree-prepare-root.service":
			im.unit = true
		case strings.Contains(base, ".ko"):
			im.modules[moduleName(base)] = true
		case strings.HasSuffix(name, "ostree/prepare-root.conf"):
			data, err := io.ReadAll(io.LimitReader(m.Data, 64<<10))
			if err != nil {
				return err
			}
			im.conf[name] = data
		}
		return nil
	})
	return im, err
}

// moduleName is a module's name without folder, compression and with underscores only.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// drivers are what a disk of ours may be attached to.
var drivers = []string{"virtio_blk", "virtio_pci", "nvme", "ahci", "usb_storage"}

func (im initramfs) check(p *pass, at string) {
	if !im.prepareRoot || !im.unit {
		p.report(at, "ostree-prepare-root is not in the initramfs: the machine would not find its deployment",
			`add_dracutmodules+=" ostree " in /usr/lib/dracut/dracut.conf.d, and make the initramfs again`)
	}
	for _, need := range []struct{ module, why string }{
		{"erofs", "composefs cannot be mounted"},
		{"overlay", "composefs cannot be mounted"},
		{"ext4", "the root file system cannot be mounted"},
	} {
		if !im.modules[need.module] {
			p.report(at, fmt.Sprintf("the driver %s is neither in the initramfs nor in the kernel: %s", need.module, need.why),
				fmt.Sprintf(`add_drivers+=" %s " in /usr/lib/dracut/dracut.conf.d, and make the initramfs again`, need.module))
		}
	}
	var lacking []string
	for _, d := range drivers {
		if !im.modules[d] {
			lacking = append(lacking, d)
		}
	}
	if len(lacking) > 0 {
		p.warn(at, "drivers of common disks are not in the initramfs: "+strings.Join(lacking, ", "), `hostonly="no" and add_drivers+= in /usr/lib/dracut/dracut.conf.d`)
	}
}

func (im initramfs) checkConf(p *pass, at string) {
	data, ok := im.conf["etc/ostree/prepare-root.conf"]
	if !ok {
		data, ok = im.conf[prepareRootPath]
	}
	if !ok {
		p.report(at, "prepare-root.conf is not in the initramfs: composefs is off", "write /usr/lib/ostree/prepare-root.conf before the initramfs is made")
		return
	}
	kf, err := parseKeyFile(data)
	if err != nil {
		p.report(at, "prepare-root.conf in the initramfs: "+err.Error(), "correct it and make the initramfs again")
		return
	}
	if problem := composefsProblem(kf); problem != "" {
		p.report(at, "prepare-root.conf in the initramfs: "+problem, "set [composefs] enabled = yes and make the initramfs again")
	} else if !kf.overlay() {
		p.report(at, "composefs is off in the initramfs", "set [composefs] enabled = yes and make the initramfs again")
	}
	if _, image, ok := p.prepareRoot(""); ok && image["composefs"]["enabled"] != kf["composefs"]["enabled"] {
		p.warn(at, "prepare-root.conf differs between the image and its initramfs, which is the one that counts", "make the initramfs again")
	}
}
