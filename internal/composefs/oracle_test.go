package composefs

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/tool/tooltest"
)

// dump renders a tree in the format of composefs-dump(5).
func dump(root *Node) string {
	var b strings.Builder
	var walk func(path string, n *Node)
	walk = func(path string, n *Node) {
		payload, size, nlink := "-", uint64(0), 1
		switch {
		case n.typ() == typeSymlink:
			payload, size = escape(n.Target, false), uint64(len(n.Target))
		case n.External():
			size = n.Size
			if n.Payload != "" {
				payload = escape(n.Payload, false)
			}
		case n.isDir():
			nlink = 2
		}
		fmt.Fprintf(&b, "%s %d %o %d %d %d %d 0.0 %s - -", escape(path, false), size, n.Mode, nlink, n.UID, n.GID, n.Rdev, payload)
		for _, k := range slices.Sorted(maps.Keys(n.Xattrs)) {
			fmt.Fprintf(&b, " %s=%s", escape(k, true), escape(string(n.Xattrs[k]), true))
		}
		b.WriteByte('\n')
		for _, c := range n.Children {
			walk(strings.TrimSuffix(path, "/")+"/"+c.Name, c)
		}
	}
	walk("/", root)
	return b.String()
}

func escape(s string, equals bool) string {
	if s == "-" {
		return `\x2d`
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '\\' || equals && c == '=' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// oracle returns what mkcomposefs makes of a tree.
func oracle(t testing.TB, root *Node) []byte {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "dump"), filepath.Join(dir, "image")
	if err := os.WriteFile(in, []byte(dump(root)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tool.Run(context.Background(), tooltest.Need(t, "mkcomposefs"), "--from-file", in, out); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func image(t testing.TB, root *Node) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, root); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compare(t testing.TB, name string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s: images of %d and %d bytes differ first at %#x", name, len(got), len(want), at)
}

// randomTree makes trees that reach the corners of the format.
func randomTree(r *rand.Rand, nodes int) *Node {
	root := &Node{Mode: typeDir | 0o755, Xattrs: randomXattrs(r)}
	dirs := []*Node{root}
	for i := range nodes {
		parent := dirs[r.IntN(len(dirs))]
		if r.IntN(3) == 0 {
			parent = dirs[len(dirs)-1]
		}
		n := &Node{Name: randomName(r, i), Mode: uint32(r.IntN(0o10000)), UID: randomID(r), GID: randomID(r), Xattrs: randomXattrs(r)}
		switch r.IntN(12) {
		case 0, 1:
			n.Mode |= typeDir
			dirs = append(dirs, n)
		case 2, 3:
			n.Mode = typeSymlink | 0o777
			n.Target = strings.Repeat("t", 1+r.IntN(60))
			if r.IntN(8) == 0 {
				n.Target = strings.Repeat("long/", 1+r.IntN(818))
			}
		case 4:
			n.Mode |= typeRegular
		case 5:
			if r.IntN(4) == 0 {
				n.Mode |= []uint32{typeChar, typeBlock, typeFIFO, typeSocket}[r.IntN(4)]
				if n.typ() == typeChar || n.typ() == typeBlock {
					n.Rdev = uint32(r.IntN(3) * 0x103)
				}
				if n.isWhiteout() {
					// libcomposefs fails where it would replace an attribute.
					unmark(n)
					unmark(parent)
				}
				break
			}
			fallthrough
		default:
			n.Mode |= typeRegular
			n.Size = uint64(1 + r.IntN(20000))
			if r.IntN(10) == 0 {
				n.Size = 1 + r.Uint64()>>(12+r.IntN(30))
			}
			if r.IntN(12) != 0 {
				n.Payload = fmt.Sprintf("%02x/%062x.file", i&0xff, r.IntN(nodes*3))
			}
		}
		parent.Children = append(parent.Children, n)
	}
	return root
}

func unmark(n *Node) {
	maps.DeleteFunc(n.Xattrs, func(name string, _ []byte) bool {
		return strings.HasPrefix(name, userPrefix) || strings.HasPrefix(name, overlayPrefix)
	})
}

func randomName(r *rand.Rand, i int) string {
	alphabet := []string{"a", "Z", "0", "!", ".", "-", "ü", "~", "_"}
	s := fmt.Sprintf("n%d", i)
	for range r.IntN(12) {
		s = alphabet[r.IntN(len(alphabet))] + s
	}
	if r.IntN(20) == 0 {
		s = strings.Repeat("n", min(250-len(s), r.IntN(240))) + s
	}
	if r.IntN(30) == 0 && i < 256 {
		s = fmt.Sprintf("%02x", i)
	}
	return s
}

func randomID(r *rand.Rand) uint32 {
	return []uint32{0, 0, 0, 1000, 65535, 65536, 4294967294}[r.IntN(7)]
}

func randomXattrs(r *rand.Rand) map[string][]byte {
	x := map[string][]byte{}
	if r.IntN(10) != 0 {
		x["security.selinux"] = fmt.Appendf(nil, "system_u:object_r:t%d_t:s0\x00", r.IntN(9))
	}
	names := []string{
		"user.a", "user.b", "trusted.overlay.opaque", "trusted.overlay.overlay.x", "trusted.overlay.metacopy", "trusted.x",
		"security.capability", "system.posix_acl_access", "system.posix_acl_default", "user.overlay.redirect", "odd", "user.",
		"trusted.overlay.redirect", "trusted.overlay.whiteout", "user.overlay.opaque", "zlast",
	}
	for range 9 {
		if r.IntN(4) != 0 {
			break
		}
		size := r.IntN(40)
		if r.IntN(25) == 0 {
			size = r.IntN(3000)
		}
		x[names[r.IntN(len(names))]] = bytes.Repeat([]byte{byte(r.IntN(4))}, size)
	}
	if r.IntN(60) == 0 {
		for i := range r.IntN(200) {
			x[fmt.Sprintf("user.many%d", i)] = []byte{1}
		}
	}
	return x
}

func TestOracleRandomTrees(t *testing.T) {
	tooltest.Need(t, "mkcomposefs")
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		root := randomTree(r, 1+r.IntN(1500))
		compare(t, fmt.Sprintf("seed %d", seed), image(t, root), oracle(t, root))
	}
}
