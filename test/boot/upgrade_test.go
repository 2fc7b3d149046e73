package boot

import (
	_ "embed"
	"encoding/base64"
	"testing"
	"time"

	"github.com/aitheros/aither-image/internal/vm"
)

//go:embed testdata/upgrade.sh
var upgradeScript string

// TestUpgradeAndRollback lets a machine deploy a changed tree, boot it, and
// roll back: three boots of one disk, with the image as it is. The script comes
// from outside, as credentials in SMBIOS (systemd 256 and newer take units from
// them: systemd-debug-generator(8)), and keeps the image's own check quiet.
func TestUpgradeAndRollback(t *testing.T) {
	need(t, "AITHER_BOOTS")
	var args []string
	for name, text := range map[string]string{
		"aither.script": upgradeScript,
		"systemd.extra-unit.aither-upgrade.service": "[Unit]\nDescription=Upgrade and roll back\n[Service]\nType=exec\nImportCredential=aither.script\nExecStart=/bin/bash %d/aither.script\n",
		"systemd.unit-dropin.multi-user.target":     "[Unit]\nWants=aither-upgrade.service\n",
		"systemd.unit-dropin.aither-check.service":  "[Unit]\nConditionPathExists=!/dev/virtio-ports/org.aitheros.check\n",
	} {
		args = append(args, "-smbios", "type=11,value=io.systemd.credential.binary:"+name+"="+base64.StdEncoding.EncodeToString([]byte(text)))
	}
	run(t, scene{
		disk: rawDisk, format: vm.Raw, firmware: vm.UEFI, grow: 4 << 30, args: args, resets: 8, timeout: 45 * time.Minute,
		want: []string{
			"upgrade-staged", "upgrade-booted", "upgrade-tree", "upgrade-etc-kept", "upgrade-finalized",
			"rollback-queued", "rollback-booted", "rollback-tree", "rollback-finalized", "objects",
		},
	})
}
