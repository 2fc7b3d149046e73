package lint

import (
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/aitheros/aither-image/internal/tree"
)

// identityLints find what must be different on every machine. What is in the
// image is the same on all of them, and known to everyone who has the image.
func identityLints() []lint {
	each := func(name, text string, f func(*pass, tree.Entry)) lint {
		return lint{Info: Info{Name: "identity-" + name, Severity: Fatal, Text: text}, each: f}
	}
	return []lint{
		each("ssh-host-keys", "there are no ssh host keys", sshHostKeys),
		{
			Info: Info{Name: "identity-machine-id", Severity: Fatal, Text: "/etc/machine-id is empty or says uninitialized"},
			root: machineID,
		},
		each("random-seed", "there is no saved random seed", randomSeed),
		each("credential-secret", "there is no host key of systemd-creds", func(p *pass, e tree.Entry) {
			if e.Path == "var/lib/systemd/credential.secret" {
				p.report(e.Path, "every machine would seal its credentials with this key", "remove it: systemd makes one on each machine")
			}
		}),
		each("dhcp-leases", "there are no DHCP leases", dhcpLeases),
		each("podman-secrets", "there are no secrets of podman", func(p *pass, e tree.Entry) {
			if strings.HasSuffix(e.Path, "/secrets/filedriver/secretsdata.json") || strings.HasSuffix(e.Path, "containers/storage/secrets/secrets.json") {
				p.report(e.Path, "this holds podman's secrets, unencrypted", "create secrets on the machine")
			}
		}),
		each("networkmanager", "NetworkManager's secret key and secrets in connections are absent", networkManager),
		each("caddy-ca", "there are no keys of Caddy's certificate authority or sites", func(p *pass, e tree.Entry) {
			if e.Mode.IsRegular() && strings.HasSuffix(e.Path, ".key") && (strings.Contains(e.Path, "caddy/pki/authorities/") || strings.Contains(e.Path, "caddy/certificates/")) {
				p.report(e.Path, "every machine would vouch with this key", "remove Caddy's data folder: it makes its keys on each machine")
			}
		}),
		{
			Info: Info{Name: "identity-storage-names", Severity: Warning, Text: "there are no names of iSCSI and NVMe initiators"},
			root: storageNames,
		},
	}
}

func sshHostKeys(p *pass, e tree.Entry) {
	name := path.Base(e.Path)
	if path.Dir(e.Path) == "etc/ssh" && strings.HasPrefix(name, "ssh_host_") && strings.Contains(name, "key") && !e.Mode.IsDir() {
		p.report(e.Path, "every machine would have this ssh host key", "remove it in the layer that installs the server: it is made at boot (sshd-keygen, or a unit of your own)")
	}
}

func machineID(p *pass) {
	for _, at := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} {
		e, ok := p.lookup(at)
		if !ok || !e.Mode.IsRegular() {
			continue
		}
		data, _ := p.content(at, e)
		if id := strings.TrimSpace(string(data)); id != "" && id != "uninitialized" {
			p.report(at, "every machine would have this machine-id", "empty the file in the image's last layer: systemd fills it at boot")
		}
	}
}

func randomSeed(p *pass, e tree.Entry) {
	switch {
	case !e.Mode.IsRegular() || size(e) == 0:
	case e.Path == "var/lib/systemd/random-seed", e.Path == "var/lib/urandom/random-seed", e.Path == "var/lib/random-seed",
		strings.HasSuffix(e.Path, "loader/random-seed"):
		p.report(e.Path, "every machine would start from these random bytes", "remove it: systemd makes one on each machine")
	}
}

func dhcpLeases(p *pass, e tree.Entry) {
	if !e.Mode.IsRegular() || size(e) == 0 {
		return
	}
	dir, name := path.Dir(e.Path), path.Base(e.Path)
	switch dir {
	case "var/lib/dhcp", "var/lib/dhclient", "var/lib/dhcpcd", "var/lib/NetworkManager", "var/db/dhcpcd":
		if strings.Contains(name, "lease") || strings.HasPrefix(name, "duid") {
			p.report(e.Path, "this lease belongs to the machine that built the image", "remove it")
		}
	case "var/lib/systemd/network", "var/lib/systemd/netif/leases":
		p.report(e.Path, "this network state belongs to the machine that built the image", "remove it")
	}
}

// connectionSecret matches a filled secret of a NetworkManager key file (nm-settings-keyfile(5)).
var connectionSecret = regexp.MustCompile(`(?m)^\s*(psk|password|wep-key[0-3]|leap-password|private-key-password|phase2-private-key-password|ca-cert-password|client-cert-password|preshared-key|private-key|pin|Xauth password|IPSec secret)\s*=\s*\S`)

func networkManager(p *pass, e tree.Entry) {
	switch dir := path.Dir(e.Path); {
	case !e.Mode.IsRegular():
	case e.Path == "var/lib/NetworkManager/secret_key":
		p.report(e.Path, "every machine would derive its addresses and identifiers from this key", "remove it: NetworkManager makes one on each machine")
	case dir == "etc/NetworkManager/system-connections" || dir == "usr/lib/NetworkManager/system-connections":
		if data, ok := p.content(e.Path, e); ok && connectionSecret.Match(data) {
			p.report(e.Path, "this connection holds a secret", "give connections with secrets to the machine, not to the image")
		}
	}
}

func storageNames(p *pass) {
	for at, key := range map[string]string{"etc/iscsi/initiatorname.iscsi": "InitiatorName=", "etc/nvme/hostnqn": "nqn.", "etc/nvme/hostid": ""} {
		e, ok := p.lookup(at)
		if !ok || e.Mode.Type() == fs.ModeSymlink {
			continue
		}
		if data, ok := p.content(at, e); ok && len(strings.TrimSpace(string(data))) > 0 && strings.Contains("\n"+string(data), "\n"+key) {
			p.report(at, "every machine would have this name towards storage", "remove it and make it at boot")
		}
	}
}
