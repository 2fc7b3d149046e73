package selinux

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
)

func load(files map[string]string) (*Policy, error) {
	return Load(func(name string) ([]byte, error) {
		if s, ok := files[name]; ok {
			return []byte(s), nil
		}
		return nil, fs.ErrNotExist
	})
}

func labelOf(typ string) string { return "system_u:object_r:" + typ + ":s0" }

var sample1 = map[string]string{
	"file_contexts": `# comment
/.*	system_u:object_r:default_t:s0
/	-d	system_u:object_r:root_t:s0
/usr(/.*)?	system_u:object_r:usr_t:s0
/usr/(.*/)?bin(/.*)?	system_u:object_r:bin_t:s0
/usr/lib/.+\.so	--	system_u:object_r:lib_t:s0
/usr/lib/[^/]*	-l	system_u:object_r:link_t:s0
/usr/lib/ld-linux\.so\.2	--	system_u:object_r:ld_so_t:s0
/usr/lib/plain	system_u:object_r:plain_t:s0
/usr/lib/plain	-d	system_u:object_r:plaindir_t:s0
/dev/[sh]d[a-z]+[0-9]*	-b	system_u:object_r:disk_t:s0
/dev/tty	-c	system_u:object_r:tty_t:s0
/run/fifo.*	-p	system_u:object_r:fifo_t:s0
/run/sock.*	-s	system_u:object_r:sock_t:s0
/mnt(/.*)?	system_u:object_r:mnt_t:s0
/tmp/.*	<<none>>
/tmp	-d	system_u:object_r:tmp_t:s0
/var/x|/end	system_u:object_r:either_t:s0
/var/home/u{2}\+1	system_u:object_r:brace_t:s0
`,
	"file_contexts.homedirs":  "/home/[^/]+/\\.ssh(/.*)?\tsystem_u:object_r:ssh_home_t:s0\n",
	"file_contexts.local":     "/usr/lib/override.*\tsystem_u:object_r:local_t:s0\n/usr/lib/plain -d system_u:object_r:local_plain_t:s0\n",
	"file_contexts.subs":      "/srv/tree /usr\n/alias /\n",
	"file_contexts.subs_dist": "/lib /usr/lib\n/lib64 /usr/lib\n/usr/libexec /usr/bin\n/var/roothome /home/root\n",
}

func TestLabel(t *testing.T) {
	p, err := load(sample1)
	if err != nil {
		t.Fatal(err)
	}
	const char = fs.ModeDevice | fs.ModeCharDevice
	for _, c := range []struct {
		path string
		mode fs.FileMode
		want string // the type; "" is no label
	}{
		{"/", fs.ModeDir, "root_t"},
		{"/odd", 0, "default_t"},
		{"/usr", fs.ModeDir, "usr_t"},
		{"/usrx", 0, "default_t"},
		{"/usr/share/x", 0, "usr_t"},
		{"/usr/bin", fs.ModeDir, "bin_t"},
		{"/usr/a/b/bin/c", 0, "bin_t"},
		{"/usr/cabin/c", 0, "usr_t"},
		{"//usr//bin///ls/", 0, "bin_t"},
		{"/usr/lib/a.so", 0, "lib_t"},
		{"/usr/lib/a.so", fs.ModeSymlink, "link_t"},
		{"/usr/lib/d/a.so", fs.ModeSymlink, "usr_t"},
		{"/usr/lib/.so", 0, "usr_t"},
		{"/usr/lib/new\nline.so", 0, "lib_t"},
		{"/usr/lib/ld-linux.so.2", 0, "ld_so_t"},
		{"/usr/lib/ld-linuxxso.2", 0, "usr_t"},
		{"/usr/lib/plain", 0, "plain_t"},
		{"/usr/lib/plain", fs.ModeDir, "local_plain_t"},
		{"/usr/lib/override1", 0, "local_t"},
		{"/lib/a.so", 0, "lib_t"},
		{"/lib64", fs.ModeDir, "usr_t"},
		{"/lib64x", fs.ModeDir, "default_t"},
		{"/usr/libexec/x", 0, "bin_t"},
		{"/srv/tree/bin/x", 0, "bin_t"},
		{"/srv/tree/libexec/x", 0, "bin_t"},
		{"/alias/usr/bin", 0, "bin_t"},
		{"/home/me/.ssh/id", 0, "ssh_home_t"},
		{"/var/roothome/.ssh", fs.ModeDir, "ssh_home_t"},
		{"/dev/sda1", fs.ModeDevice, "disk_t"},
		{"/dev/sda1", char, "default_t"},
		{"/dev/tty", char, "tty_t"},
		{"/run/fifo1", fs.ModeNamedPipe, "fifo_t"},
		{"/run/sock1", fs.ModeSocket, "sock_t"},
		{"/proc", fs.ModeDir, "mnt_t"},
		{"/proc/1", 0, "default_t"},
		{"/tmp", fs.ModeDir, "tmp_t"},
		{"/tmp/x", 0, ""},
		{"/var/x/anything", 0, "either_t"},
		{"/any/end", 0, "default_t"}, // libselinux never looks there
		{"/var/home/uu+1", 0, "brace_t"},
	} {
		want := ""
		if c.want != "" {
			want = labelOf(c.want)
		}
		if got, ok := p.Label(c.path, c.mode); got != want || ok != (want != "") {
			t.Errorf("%q %v: %q, %v; want %q", c.path, c.mode, got, ok, want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"file_contexts", "/ok a:b:c\n/a(?=b) a:b:c\n", "line 2"},
		{"file_contexts", "/a(?!b).* a:b:c\n", "line 1"},
		{"file_contexts", `/(a)\1 a:b:c`, "line 1"},
		{"file_contexts", "/(a a:b:c\n", "line 1"},
		{"file_contexts", "/a{1000}{1000} a:b:c\n", "line 1"},
		{"file_contexts", "/(abcdef){900} a:b:c\n", "too large"},
		{"file_contexts", "/a -x a:b:c\n", "file type"},
		{"file_contexts", "/a\n", "1 fields"},
		{"file_contexts", "/a -- a:b:c d\n", "4 fields"},
		{"file_contexts", "/a.* nocolon\n", "context"},
		{"file_contexts", "/a.* a:b:c\x01\n", "context"},
		{"file_contexts", "/" + strings.Repeat("a", maxLine) + " a:b:c\n", "limit"},
		{"file_contexts", strings.Repeat("/"+strings.Repeat("[a-z]{40}.", 10)+" a:b:c\n", 5000), "together"},
		{"file_contexts.subs", "/a\n", "two absolute paths"},
		{"file_contexts.subs_dist", "/a /b\nx /b\n", "line 2"},
	} {
		files := map[string]string{"file_contexts": ""}
		files[c.file] = c.text
		if _, err := load(files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %.60q: error %v, want one with %q", c.file, c.text, err, c.want)
		}
	}
	if _, err := load(nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without file_contexts: %v", err)
	}
	broken := errors.New("broken")
	if _, err := Load(func(string) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("unreadable file: %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	p, err := load(sample1)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				if got, _ := p.Label("/usr/lib/a.so", 0); got != labelOf("lib_t") {
					t.Errorf("label %q", got)
				}
			}
		})
	}
	group.Wait()
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		text string
		want Config
		ok   bool
	}{
		{"# c\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", Config{true, true, "targeted"}, true},
		{"  selinux=Permissive # not a comment\nSELINUXTYPE= default \n", Config{true, false, "default"}, true},
		{"SELINUX=disabled\n", Config{false, false, "targeted"}, true},
		{"", Config{false, false, "targeted"}, true},
		{"SELINUX=enforcing\nSELINUX=disabled\nSELINUXTYPE=a\nSELINUXTYPE=mls", Config{false, false, "mls"}, true},
		{"#SELINUX=enforcing\n", Config{false, false, "targeted"}, true},
		{"SELINUXTYPE=../../x\n", Config{}, false},
		{"SELINUXTYPE=..\n", Config{}, false},
		{"SELINUXTYPE=\n", Config{}, false},
	} {
		got, err := ParseConfig([]byte(c.text))
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %+v, %v; want %+v", c.text, got, err, c.want)
		}
	}
	if got := (Config{Type: "mls"}).ContextsDir(); got != "selinux/mls/contexts/files" {
		t.Errorf("folder %q", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(sample1["file_contexts"], sample1["file_contexts.subs_dist"], "/usr/lib/a.so")
	f.Fuzz(func(t *testing.T, contexts, subs, path string) {
		p, err := load(map[string]string{"file_contexts": contexts, "file_contexts.subs_dist": subs})
		if err != nil {
			return
		}
		for _, mode := range []fs.FileMode{0, fs.ModeDir, fs.ModeSymlink} {
			if got, ok := p.Label(path, mode); ok != (got != "") || got == none {
				t.Errorf("label %q, %v", got, ok)
			}
		}
	})
}
