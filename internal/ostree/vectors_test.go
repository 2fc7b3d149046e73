package ostree

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// The vectors were taken from repositories that ostree itself wrote.
const (
	sumEmptyFile = "cc700d46f407c6c5ab2d5dde474366a928b7398277e61162e7f8ec06f469f07e"
	sumEmptyTree = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
	sumPlainMeta = "446a0ef11b7cc167f3b603e585c7eeeeb675faa412d5ec73f62988eb0b6c5488"
)

func label(typ string) Xattrs {
	return Xattrs{"security.selinux": []byte("system_u:object_r:" + typ + ":s0\x00")}
}

func mustSum(t *testing.T, s string) Checksum {
	t.Helper()
	c, err := ParseChecksum(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFileChecksum(t *testing.T) {
	for _, c := range []struct {
		name    string
		header  FileHeader
		content string
		bytes   string // of the header; "" is unchecked
		sum     string
	}{
		{"empty", FileHeader{Mode: 0o100644}, "", "0000000000000000000081a4000000000011", sumEmptyFile},
		{"script", FileHeader{Mode: 0o100755}, "hello\n", "", "d6f58149fd47ec2be3fafef4fe767915f195e7ae67b9a0c090b842b156cd07f3"},
		{"labelled", FileHeader{Mode: 0o100755, Xattrs: label("bin_t")}, "hello\n", "", "400bae7cd61846c47d73779f977e0c7bce516503fa41dda3d9aecbecb7386948"},
		{
			"link", FileHeader{Mode: SymlinkMode, Symlink: "usr/bin"}, "",
			"00000000000000000000a1ff000000007573722f62696e0018",
			"389846c2702216e1367c8dfb68326a6b93ccf5703c89c93979052a9bf359608e",
		},
		{"labelled link", FileHeader{Mode: SymlinkMode, Symlink: "usr/bin", Xattrs: label("bin_t")}, "", "", "936f751855ebe4210d3fb59d3ffca58c2270dc4d6d89c4507abe40eb530ddd69"},
		{
			"attributes", FileHeader{UID: 1000, GID: 70000, Mode: 0o100640, Xattrs: Xattrs{"user.zed": []byte("z"), "user.abc": []byte(strings.Repeat("long", 10))}}, "uid",
			"000003e800011170000081a00000000000" + "757365722e61626300" + strings.Repeat("6c6f6e67", 10) + "09" + "757365722e7a656400" + "7a" + "09" + "323d" + "11",
			"27af7ae741386d9e5dd34e2d3fe78837ed434b3e5ec2874aa3b2394bc58dbd02",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := hex.EncodeToString(c.header.Encode()); c.bytes != "" && got != c.bytes {
				t.Errorf("header %s, want %s", got, c.bytes)
			}
			if got := FileChecksum(c.header, []byte(c.content)).String(); got != c.sum {
				t.Errorf("checksum %s, want %s", got, c.sum)
			}
			if err := c.header.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDirMeta(t *testing.T) {
	for _, c := range []struct {
		name, bytes, sum string
		meta             DirMeta
	}{
		{"plain", "0000000000000000000041ed", sumPlainMeta, DirMeta{Mode: 0o40755}},
		{"sticky", "", "bbe8d5c22ca8a645068a1aa51a59e117f139319d9a791e4d4c0d27dae64cc8c7", DirMeta{Mode: 0o41777}},
		{"labelled", "", "9c359a8bcc95143dcc1db8f6e3897d4e53e2562aa9ac41b1d5a0c1dfb2f6c468", DirMeta{Mode: 0o40755, Xattrs: label("usr_t")}},
		{
			"attributes", "0000000500000006000045fd757365722e6469720064090b",
			"7d13b7e7fc2c4964042c84e00297d684210091498aa07bb92df304508478e391",
			DirMeta{UID: 5, GID: 6, Mode: 0o42775, Xattrs: Xattrs{"user.dir": []byte("d")}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.meta.Encode()
			if got := hex.EncodeToString(b); c.bytes != "" && got != c.bytes {
				t.Errorf("bytes %s, want %s", got, c.bytes)
			}
			if got := c.meta.Checksum().String(); got != c.sum {
				t.Errorf("checksum %s, want %s", got, c.sum)
			}
			back, err := ParseDirMeta(b)
			if err != nil || !bytes.Equal(back.Encode(), b) {
				t.Errorf("read back as %+v, %v", back, err)
			}
		})
	}
}

func TestDirTree(t *testing.T) {
	if got := (DirTree{}).Checksum().String(); got != sumEmptyTree {
		t.Errorf("empty tree %s", got)
	}
	d := DirTree{
		Files: []FileEntry{{"a", mustSum(t, sumEmptyFile)}},
		Dirs:  []DirEntry{{"d", mustSum(t, sumEmptyTree), mustSum(t, sumPlainMeta)}},
	}
	want := "6100" + sumEmptyFile + "02" + "23" + "6400" + sumEmptyTree + sumPlainMeta + "22" + "02" + "44" + "24"
	if got := hex.EncodeToString(d.Encode()); got != want {
		t.Errorf("bytes %s, want %s", got, want)
	}
	if got := d.Checksum().String(); got != "bb973ee528dc3c81dc82ef4fc34cdae81f5e28df58ff06a659c6e1d5e66eda0c" {
		t.Errorf("checksum %s", got)
	}
}

func TestCommit(t *testing.T) {
	c := Commit{Root: mustSum(t, sumEmptyTree), RootMeta: mustSum(t, sumPlainMeta)}
	if got := c.Checksum().String(); got != "6109d33e99f48e9b90cdf8ad037b8e5d20ef899697cfd3eb492cf78800aed498" {
		t.Errorf("empty commit %s", got)
	}
	if got := hex.EncodeToString(c.Encode()); !strings.HasSuffix(got, "300201000000") {
		t.Errorf("empty commit ends %s", got)
	}
	c.Metadata, c.Timestamp = map[string]Value{"k": StringValue("v")}, 1
	want := "6b00000000000000" + "76000073" + "02" + "0d" + "0000" + "0000000000000001" + sumEmptyTree + sumPlainMeta + "38100f0e0e0e"
	if got := hex.EncodeToString(c.Encode()); got != want {
		t.Errorf("bytes %s, want %s", got, want)
	}
	if got := c.Checksum().String(); got != "785dbf86a50965c4b2330924e5655c51c457a24018e0d16e87fdca32286f173b" {
		t.Errorf("checksum %s", got)
	}
}

func TestRefs(t *testing.T) {
	for _, c := range [][2]string{
		{"docker://example.com/os/t:latest", "docker_3A__2F__2F_example_2E_com/os/t_3A_latest"},
		{"registry:quay.io/coreos/fedora:latest", "registry_3A_quay_2E_io/coreos/fedora_3A_latest"},
		{"sha256:00", "sha256_3A_00"},
		{"a_b-c", "a__b-c"},
		{"/a//b/", "_2F_a/_2F_b_2F_"},
		{"é/x", "_E9__2F_x"},
	} {
		if got, err := EscapeRef(c[0]); got != c[1] || err != nil {
			t.Errorf("EscapeRef(%q) = %q, %v; want %q", c[0], got, err, c[1])
		}
	}
	for _, bad := range []string{"", "a\x00b", "\xff"} {
		if got, err := EscapeRef(bad); err == nil {
			t.Errorf("EscapeRef(%q) = %q", bad, got)
		}
	}
	if got, err := BlobRef("sha256:ab"); got != "ostree/container/blob/sha256_3A_ab" || err != nil {
		t.Errorf("BlobRef: %q, %v", got, err)
	}
	if got, err := ImageRef("docker://h/n:t"); got != "ostree/container/image/docker_3A__2F__2F_h/n_3A_t" || err != nil {
		t.Errorf("ImageRef: %q, %v", got, err)
	}
	if got, err := ImageRef("a/-b"); err == nil {
		t.Errorf("ImageRef made the illegal %q", got)
	}
	if got, err := RefFile(DeploymentRef); got != "refs/heads/ostree/1/1/0" || err != nil {
		t.Errorf("RefFile: %q, %v", got, err)
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", "..", "a/../b", "-a", "a b", "é"} {
		if CheckRef(bad) == nil {
			t.Errorf("CheckRef accepts %q", bad)
		}
	}
}

func TestChecksumText(t *testing.T) {
	c := mustSum(t, sumEmptyFile)
	if got := c.ObjectPath(KindFile); got != "objects/cc/"+sumEmptyFile[2:]+".file" {
		t.Errorf("path %s", got)
	}
	for _, bad := range []string{"", "cc", strings.ToUpper(sumEmptyFile), sumEmptyFile + "0", strings.Repeat("g", 64)} {
		if _, err := ParseChecksum(bad); err == nil {
			t.Errorf("ParseChecksum accepts %q", bad)
		}
	}
}
