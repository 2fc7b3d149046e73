package lint

import (
	"fmt"
	"path"
	"strings"
)

// prepareRootPath is where images configure ostree-prepare-root(1); /etc wins.
const prepareRootPath = "usr/lib/ostree/prepare-root.conf"

// A keyFile is a parsed GLib key file: group, then key.
type keyFile map[string]map[string]string

// parseKeyFile reads the form of GLib's GKeyFile.
func parseKeyFile(data []byte) (keyFile, error) {
	kf := keyFile{}
	var group map[string]string
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		switch key, value, found := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			name, ok := strings.CutSuffix(line[1:], "]")
			if !ok || name == "" {
				return nil, fmt.Errorf("line %d: %q is no group", n+1, line)
			}
			if kf[name] == nil {
				kf[name] = map[string]string{}
			}
			group = kf[name]
		case !found || group == nil || strings.TrimSpace(key) == "":
			return nil, fmt.Errorf("line %d: %q is neither a group nor a key of one", n+1, line)
		default:
			group[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return kf, nil
}

// overlay tells whether the root is an overlay, in bootc's understanding:
// composefs that is at least maybe enabled, or a transient root.
func (kf keyFile) overlay() bool {
	switch kf["composefs"]["enabled"] {
	case "yes", "true", "1", "maybe", "signed", "verity":
		return true
	}
	return kf["root"]["transient"] == "true"
}

// prepareRoot returns prepare-root.conf of a root, and where it is.
func (p *pass) prepareRoot(root string) (at string, kf keyFile, ok bool) {
	for _, at := range []string{"etc/ostree/prepare-root.conf", prepareRootPath} {
		at = path.Join(root, at)
		data, ok := p.read(at)
		if !ok {
			continue
		}
		kf, err := parseKeyFile(data)
		return at, kf, err == nil
	}
	return "", nil, false
}

// composefsProblem tells why our disks cannot boot with a mode of composefs;
// empty where they can.
func composefsProblem(kf keyFile) string {
	switch mode, set := kf["composefs"]["enabled"], kf["composefs"] != nil; mode {
	case "yes", "true", "1", "maybe", "no", "false", "0":
		return ""
	case "verity", "signed":
		return "composefs mode " + mode + " needs fs-verity, which the disk does not have"
	case "":
		if _, there := kf["composefs"]["enabled"]; set && there {
			return "composefs is enabled with an empty value"
		}
		return ""
	default:
		return fmt.Sprintf("%q is no mode of composefs", mode)
	}
}
