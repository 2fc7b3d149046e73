package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The test program plays QEMU when it is called by a name that starts with
// "qemu-": it takes the real command line, opens the sockets named in it,
// speaks QMP, and then acts as the rest of the name says.
func TestMain(m *testing.M) {
	if play, ok := strings.CutPrefix(filepath.Base(os.Args[0]), "qemu-"); ok {
		os.Exit(fakeQEMU(play))
	}
	os.Exit(m.Run())
}

// A stage is the fake emulator with its sockets.
type stage struct {
	qmp, console, check net.Conn
	out                 *json.Encoder
	started, quit       chan struct{}
}

func fakeQEMU(play string) int {
	if said, ok := map[string]string{
		"refuse":  "could not open disk image",
		"locked":  `Failed to get "write" lock`,
		"noslirp": "network backend 'user' is not compiled into this binary",
	}[play]; ok {
		fmt.Fprintln(os.Stderr, "qemu: "+said)
		return 1
	}
	s := &stage{started: make(chan struct{}), quit: make(chan struct{})}
	listeners := map[string]net.Listener{}
	for _, id := range []string{"qmp", "console", "check"} {
		if path := socketArg(id); path != "" {
			l, err := net.Listen("unix", path)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			listeners[id] = l
		}
	}
	if play == "mute" {
		time.Sleep(time.Hour) // an empty select is a deadlock where no thread of C runs beside
	}
	s.qmp, _ = listeners["qmp"].Accept()
	s.out = json.NewEncoder(s.qmp)
	go s.control()
	if l := listeners["console"]; l != nil {
		s.console, _ = l.Accept()
	}
	if l := listeners["check"]; l != nil {
		s.check, _ = l.Accept()
	}
	<-s.started
	go s.act(play)
	<-s.quit
	return 0
}

func socketArg(id string) string {
	for _, a := range os.Args {
		if rest, ok := strings.CutPrefix(a, "socket,id="+id+",path="); ok {
			return strings.TrimSuffix(rest, ",server=on,wait=off")
		}
	}
	return ""
}

func (s *stage) control() {
	_ = s.out.Encode(map[string]any{"QMP": map[string]any{"version": map[string]any{}}})
	r := bufio.NewScanner(s.qmp)
	for r.Scan() {
		var c struct {
			Execute   string
			ID        int
			Arguments map[string]any
		}
		if json.Unmarshal(r.Bytes(), &c) != nil {
			continue
		}
		answer := map[string]any{"return": map[string]any{}, "id": c.ID}
		switch c.Execute {
		case "screendump":
			_ = os.WriteFile(c.Arguments["filename"].(string), []byte("P6\n2 1\n255\nABCDEF"), 0o600)
		case "system_powerdown":
			defer close(s.quit)
			_ = s.out.Encode(answer)
			return
		case "quit":
			_ = s.out.Encode(answer)
			close(s.quit)
			return
		case "unknown":
			answer = map[string]any{"error": map[string]any{"class": "CommandNotFound", "desc": "no such command"}, "id": c.ID}
		}
		_ = s.out.Encode(answer)
		if c.Execute == "cont" {
			close(s.started)
		}
	}
}

// single tells whether this is the attempt with one emulated processor.
func single() bool { return strings.Contains(strings.Join(os.Args, " "), "thread=single") }

func (s *stage) act(play string) {
	say := func(w io.Writer, lines ...string) {
		for _, l := range lines {
			_, _ = io.WriteString(w, l+"\n")
		}
	}
	pass := func() {
		say(s.console, "login: ")
		say(s.check, `{"check":"root-composefs","ok":true,"detail":"overlay"}`, `{"check":"root-grown","ok":true,"detail":{"bytes":1}}`, `{"verdict":"pass"}`)
	}
	switch play {
	case "pass":
		pass()
	case "fail":
		say(s.check, `{"check":"root-composefs","ok":false,"detail":"ext4"}`, `{"check":"fsck","ok":true}`, `{"verdict":"fail"}`)
	case "liar":
		say(s.check, `{"check":"fsck","ok":false}`, `{"verdict":"pass"}`)
	case "empty":
		say(s.check, `{"verdict":"pass"}`)
	case "noise":
		say(s.check, "login: ", `{"log":1}`, "\x00\xff\xfe", `[1,2]`, `{"check":"a","ok":"yes"}`)
		pass()
	case "long":
		say(s.check, `{"check":"a","ok":false,"detail":"`+strings.Repeat("x", 1<<20)+`"}`)
		pass()
	case "flood":
		for i := range 5000 {
			say(s.check, fmt.Sprintf(`{"check":"c%d","ok":true}`, i))
		}
		pass()
	case "panic", "panic-once":
		if play == "panic-once" && single() {
			pass()
			return
		}
		say(s.console, "booting", "\x1b[31m[    1.0] Kernel panic - not syncing: Attempted to kill init!\x1b[0m", "---[ end Kernel panic ]---")
	case "emergency":
		say(s.console, "You are in emergency mode. After logging in, type \"journalctl -xb\"")
	case "binary":
		junk := make([]byte, 1<<20)
		for i := range junk {
			junk[i] = byte(i*7 + i>>8)
		}
		_, _ = s.console.Write(junk)
		pass()
	case "poweroff":
		close(s.quit)
	case "crash":
		os.Exit(134)
	case "resets":
		for range 9 {
			_ = s.out.Encode(map[string]any{"event": "RESET", "data": map[string]any{"guest": true}})
		}
	case "pvpanic":
		_ = s.out.Encode(map[string]any{"event": "GUEST_PANICKED", "data": map[string]any{"action": "pause"}})
	case "hang":
		time.Sleep(time.Hour)
	}
}
