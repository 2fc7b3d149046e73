package blueprint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// goodPlan is a plan to be spoilt, one line at a time.
const goodPlan = `plan = 1
name = "x"
arch = "x86_64"

[base]
kind = "layout"
path = "/layout"

[update]
source = "localhost/x:1"
signature = "insecure"

[[step]]
kind = "overlay"
path = "/overlay"

[disk]
layout = "unified"
rootfs = "ext4"
size = "0 B"
esp_size = "0 B"
boot_size = "0 B"
root_size = "0 B"
root_free = "0 B"
esp_label = "EFI-SYSTEM"
boot_label = "boot"
root_label = "root"
grow = true

[kernel]
append = []

[output]
types = ["raw"]
serial_console = true
compress = "none"
`

// TestBadPlans holds that a plan is read as strictly as a blueprint.
func TestBadPlans(t *testing.T) {
	if plan, problems := Load("p", []byte(goodPlan), Environment{}); len(problems) > 0 || string(plan.TOML()) != goodPlan {
		t.Fatalf("%v", problems)
	}
	for _, c := range []struct{ old, new, want string }{
		{"plan = 1", "plan = 2", "1:8 bad-schema"},
		{"plan = 1", "plan = 1\nschema = 1", "2:1 unknown-key"},
		{"plan = 1", "plan = \"1\"", "1:8 wrong-type"},
		{"name = \"x\"\n", "", "1:1 missing-key"},
		{"arch = \"x86_64\"\n", "", "1:1 missing-key"},
		{"x86_64", "amd64", "3:8 bad-value"},
		{"kind = \"layout\"\n", "", "5:1 missing-key"},
		{"kind = \"layout\"", "kind = \"floppy\"", "6:8 bad-value"},
		{"path = \"/layout\"\n", "", "5:1 missing-key"},
		{"path = \"/layout\"", "path = \"layout\"", "7:8 bad-path"},
		{"path = \"/layout\"", "path = \"/a/../layout\"", "7:8 bad-path"},
		{"kind = \"layout\"", "kind = \"image\"", "5:1 missing-key"},
		{"kind = \"layout\"", "kind = \"debian\"", "5:1 missing-key"},
		{"kind = \"layout\"", "kind = \"containerfile\"\nbuiltin = \"x\"", "8:1 conflict"},
		{"kind = \"layout\"\npath = \"/layout\"", "kind = \"image\"\nreference = \"x\"", "7:13 bad-reference"},
		{"localhost/x:1", "x", "10:10 bad-reference"},
		{"\"insecure\"", "\"none\"", "11:13 bad-value"},
		{"kind = \"overlay\"", "kind = \"patch\"", "14:8 bad-value"},
		{"path = \"/overlay\"", "path = \"overlay\"", "15:8 bad-path"},
		{"path = \"/overlay\"", "path = \"/overlay\"\nbuiltin = \"x\"", "15:1 conflict"},
		{"path = \"/overlay\"\n", "", "13:1 missing-key"},
		{"\"unified\"", "\"split\"", "18:10 bad-value"},
		{"layout = \"unified\"\n", "", "17:1 missing-key"},
		{"\"ext4\"", "\"xfs\"", "19:10 unsupported"},
		{"esp_size = \"0 B\"", "esp_size = \"1 MiB\"", "21:12 bad-size"},
		{"root_size = \"0 B\"", "root_size = \"1 PiB\"", "23:13 bad-size"},
		{"\"boot\"", "\"root\"", "27:14 duplicate"},
		{"grow = true", "grow = 1", "28:8 wrong-type"},
		{"append = []", "append = [\"root=x\"]", "31:11 refused-karg"},
		{"types = [\"raw\"]", "types = []", "34:9 bad-value"},
		{"types = [\"raw\"]\n", "", "33:1 missing-key"},
		{"\"none\"", "\"gzip\"", "36:12 bad-value"},
		{"\"none\"\n", "\"none\"\n[customizations]\nhostname = \"a b\"\n", "38:12 bad-hostname"},
		{"\"none\"\n", "\"none\"\n[customizations.kernel]\nappend = \"quiet\"\n", "37:17 conflict"},
		{"\"none\"\n", "\"none\"\n[[customizations.sshkey]]\nuser = \"a\"\nkey = \"b\"\n", "37:18 conflict"},
		{"\"none\"\n", "\"none\"\n[[customizations.filesystem]]\nmountpoint = \"/\"\nminsize = 5\n", "37:18 conflict"},
		{"\"none\"\n", "\"none\"\n[customizations.disk]\nminsize = 5\n", "37:17 conflict"},
	} {
		src := strings.Replace(goodPlan, c.old, c.new, 1)
		plan, problems := Load("p", []byte(src), Environment{})
		var got []string
		for _, p := range problems {
			got = append(got, fmt.Sprintf("%d:%d %s", p.Line, p.Col, p.Code))
		}
		if src == goodPlan || plan != nil || !slices.Contains(got, c.want) {
			t.Errorf("%q for %q: got %v, want %s", c.new, c.old, problems, c.want)
		}
	}
}

// TestTOMLForms reads every form of every value, with go-toml beside it.
func TestTOMLForms(t *testing.T) {
	for _, src := range []string{
		`a = """"x""""`, `a = """""x"""""`, "a = ''''x''''", `a = """\` + "\n   \r\n\t x\\  \n y\"\"\"", "a = \"\"\"\\\n\"\"\"", "a = '''\r\nx\r\n'''", `a = "\b\t\n\f\r\"\\\u00e9\U0001F600"`,
		"a = 0\nb = -0\nc = +7\nd = 1_000\ne = 0xdead_BEEF\nf = 0o755\ng = 0b1_0\nh = -9223372036854775808\ni = 9223372036854775807",
		"a = 1.5\nb = -1e9\nc = 6.626e-34\nd = inf\ne = -inf\nf = nan\ng = 1_0.0_1",
		"a = 1979-05-27\nb = 07:32:00\nc = 07:32:00.999999\nd = 1979-05-27T07:32:00\ne = 1979-05-27 07:32:00.5\nf = 1979-05-27T07:32:00Z\ng = 1979-05-27T00:32:00-07:00\nh = 1979-05-27t07:32:00z",
		"a = [\n  1, # one\n  [2, 3],\n  {b = 1},\n  # last\n]", "a = []\nb = {}\nc = [[]]\nd = [{}, {}]",
		"a.b.c = 1\na.b.d = 2\n'x y'.\"z\" = 3\n\"\" = 4", "[a.b]\nc = 1\n[a]\nd = 2\n[a.e]", "[[a]]\n[[a.b]]\nc = 1\n[[a.b]]\n[[a]]\n[a.d]", "a = {b.c = 1, b.d = {e = 2}}",
		"[a]\nb.c = 1\n[a.d]\n", "\n\n# only a comment", "\t[ a . b ] # x\n\tc=1\t", "a=1\r\nb=2\r\n",
	} {
		doc := parseTOML("x", []byte(src))
		if len(doc.problems) > 0 {
			t.Errorf("%v in\n%s", doc.problems, src)
		}
		checkAgainstGoTOML(t, []byte(src))
	}
	for _, src := range []string{
		"a = 00", "a = 1__0", "a = _1", "a = 0x_1", "a = -0x1", "a = 1.", "a = .5", "a = 1.e5", "a = +inf5", "a = 1979-5-27", "a = 1979-05-27T", "a = 25:00:00", "a = '''x", "a = \"\"\"x\"\"", "a = \"x\ny\"",
		"[a.b]\n[a]\nb.c = 1", "a.b = 1\na.b.c = 2", "a = 1\na.b = 2", "[[a]]\n[a]", "a = []\n[[a]]", "[a]\n[a]", "a = {b = 1}\n[a.c]", "a = {b.c = 1, b = 2}", "a.b = 1\n[a]", "[a]\nb.c = 1\n[a.b]",
		"a = {\n}", "a = [1 2]", "a = b", "[a", "[[a]", "a = 1 b = 2", "= 1", "a", "a b = 1", "a = \"\\e\"", "a = \"\x01\"", "# \x01", "a\r = 1",
	} {
		if doc := parseTOML("x", []byte(src)); len(doc.problems) == 0 {
			t.Errorf("no problem in %q", src)
		}
	}
}

// TestDeepJSON holds the limit of nesting where nothing else is wrong.
func TestDeepJSON(t *testing.T) {
	deep := func(n int) string { return `{"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	if doc := parseJSON("x", []byte(deep(maxDepth))); len(doc.problems) > 0 {
		t.Error(doc.problems)
	}
	if doc := parseJSON("x", []byte(deep(maxDepth+1))); len(doc.problems) == 0 {
		t.Error("too deep, and not refused")
	}
}

// TestJSONBlueprints holds that a blueprint means the same as JSON. Only the
// order of steps is then that of the two lists, which no good file but one mixes.
func TestJSONBlueprints(t *testing.T) {
	for name, src := range goodFiles(t) {
		var value map[string]any
		if err := toml.Unmarshal(bytes.TrimPrefix(src, []byte("\xef\xbb\xbf")), &value); err != nil || name == "steps" {
			continue
		}
		asJSON, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := Load(name, src, testEnvironment)
		got, problems := Load(name, asJSON, testEnvironment)
		if got == nil {
			t.Errorf("%s: %v", name, problems)
		} else if diff := cmp.Diff(string(want.TOML()), string(got.TOML())); diff != "" {
			t.Errorf("%s: TOML (-) and JSON (+) differ:\n%s", name, diff)
		}
	}
	_, problems := Load("b", []byte("{\n \"schema\": 1,\n \"nmae\": \"x\"\n}"), testEnvironment)
	if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Line == 3 && p.Col == 2 && p.Code == "unknown-key" }) {
		t.Errorf("an unknown key in JSON is not reported where it stands: %v", problems)
	}
}
