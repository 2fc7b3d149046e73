package customize

import (
	"strings"
	"testing"
)

// FuzzApply lets images have any account files: nothing may panic, and lines
// that are there stay there, but for those of the user and the groups asked for.
func FuzzApply(f *testing.F) {
	for _, v := range []fakeView{debianView(), fedoraView()} {
		var seed []string
		for _, p := range []string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/login.defs"} {
			b, err := v.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			seed = append(seed, string(b))
		}
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5])
	}
	f.Add(":::::::\n", "a\n:::\n", "::::::::", "+\n-\n#", "core:9223372036854775807:9223372036854775807\n", "UID_MIN 4294967295\nSUB_UID_COUNT 0\n")
	f.Fuzz(func(t *testing.T, passwd, group, shadow, gshadow, subuid, defs string) {
		v := debianView()
		files := map[string]string{"etc/passwd": passwd, "etc/group": group, "etc/shadow": shadow, "etc/gshadow": gshadow, "etc/subuid": subuid, "etc/login.defs": defs}
		for p, text := range files {
			v.file(p, text)
		}
		got, err := Apply(Options{Users: []User{{Name: "core", Password: "$6$x", Groups: []string{"sudo"}, Keys: []string{key}}}}, v)
		if err != nil {
			return
		}
		for _, e := range got {
			if !strings.HasPrefix(e.Path, "etc/") && !strings.HasPrefix(e.Path, "var/") {
				t.Errorf("%s lies elsewhere", e.Path)
			}
		}
		for p, old := range files {
			after := text(t, got, p)
			if after == "" {
				continue
			}
			for line := range strings.SplitSeq(strings.TrimSuffix(old, "\n"), "\n") {
				if line == "" {
					continue
				}
				mine := strings.HasPrefix(line, "core:") || strings.HasPrefix(line, "sudo:") || strings.HasPrefix(line, "wheel:")
				if !mine && !strings.Contains("\n"+after, "\n"+line+"\n") {
					t.Errorf("%s lost the line %q", p, line)
				}
			}
		}
	})
}
