package lint

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

type failing struct{ err error }

func (f failing) Size() int64                  { return 1000 }
func (f failing) Open() (io.ReadCloser, error) { return nil, f.err }

func TestHostileInitramfs(t *testing.T) {
	good := cpioOf(map[string]string{"a": "b"})
	for name, data := range map[string]string{
		"bad size":    strings.Replace(good, "00000001", "zzzzzzzz", 1),
		"endless":     good[:len(good)-200],
		"huge name":   good[:94] + "FFFFFFFF" + good[102:],
		"no name":     good[:94] + "00000000" + good[102:],
		"huge file":   good[:54] + "FFFFFFFF" + good[62:],
		"lz4 offset":  "\x02\x21\x4c\x18\x04\x00\x00\x00\x00\x09\x00\x00",
		"lz4 block":   "\x02\x21\x4c\x18\xff\xff\xff\xff\x00",
		"gzip junk":   "\x1f\x8b\x08junkjunkjunkjunk",
		"nested":      pressed("gzip", pressed("gzip", good)),
		"xz junk":     "\xfd7zXZ\x00junkjunkjunk",
		"zstd junk":   "\x28\xb5\x2f\xfdjunkjunkjunk",
		"short magic": "07",
	} {
		m := sound().file(kver+"/initramfs.img", data)
		found, err := Run(context.Background(), m, Options{})
		if err != nil && !strings.Contains(err.Error(), "initramfs") {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && len(found) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
}

func FuzzInitramfs(f *testing.F) {
	f.Add([]byte(dracut(nil)))
	for _, how := range []string{"gzip", "xz", "lz4"} {
		f.Add([]byte(pressed(how, dracutPlain())))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		err := readInitramfs(strings.NewReader(string(data)), func(m member) error {
			if n++; n > 1000 {
				return io.ErrShortBuffer
			}
			if len(m.Name) > maxName || m.Size < 0 {
				t.Fatalf("member %q of %d bytes", m.Name, m.Size)
			}
			return nil
		})
		if err != nil && err.Error() == "" {
			t.Fatal(errors.New("an error without text"))
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("kargs = ['a']"), "d /var/x\\x20 -")
	f.Add([]byte("[composefs]\nenabled=yes"), `d "a b`)
	f.Fuzz(func(t *testing.T, data []byte, line string) {
		m := sound().file(kargsDir+"/00.toml", string(data)).file(prepareRootPath, string(data)).
			file("usr/lib/bootc/install/00.toml", string(data)).file("etc/passwd", string(data)).file("etc/fstab", string(data))
		m.file("usr/lib/tmpfiles.d/var.conf", line).file("usr/lib/sysusers.d/x.conf", line)
		if _, err := Run(context.Background(), m, Options{}); err != nil {
			t.Fatal(err)
		}
	})
}
