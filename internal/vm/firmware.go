package vm

import (
	"os"

	"github.com/aitheros/aither-image/internal/tool"
)

// A flash is a pair of UEFI firmware files.
type flash struct {
	Code string // read-only code
	Vars string // template of the variable store
	// Format of both files as QEMU calls it.
	Format string
	// SMM is set where the code was built for Secure Boot and needs a machine with SMM.
	SMM bool
}

// flashes lists where distributions keep their firmware, best first: Debian
// (4M, then 2M), Fedora, EL9, Arch, openSUSE.
var flashes = map[string][]flash{
	"x86_64": {
		{Code: "/usr/share/OVMF/OVMF_CODE_4M.fd", Vars: "/usr/share/OVMF/OVMF_VARS_4M.fd", Format: "raw"},
		{Code: "/usr/share/OVMF/OVMF_CODE.fd", Vars: "/usr/share/OVMF/OVMF_VARS.fd", Format: "raw"},
		{Code: "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", Vars: "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2", Format: "qcow2"},
		{Code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", Vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd", Format: "raw"},
		{Code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", Vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd", Format: "raw"},
		{Code: "/usr/share/qemu/ovmf-x86_64-4m-code.bin", Vars: "/usr/share/qemu/ovmf-x86_64-4m-vars.bin", Format: "raw"},
		// RHEL 9 ships one build only, for Secure Boot and without: it needs SMM.
		{Code: "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", Vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd", Format: "raw", SMM: true},
		{Code: "/usr/share/OVMF/OVMF_CODE.secboot.fd", Vars: "/usr/share/OVMF/OVMF_VARS.fd", Format: "raw", SMM: true},
	},
	"aarch64": {
		{Code: "/usr/share/AAVMF/AAVMF_CODE.fd", Vars: "/usr/share/AAVMF/AAVMF_VARS.fd", Format: "raw"},
		{Code: "/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw", Vars: "/usr/share/edk2/aarch64/vars-template-pflash.raw", Format: "raw"},
		{Code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", Vars: "/usr/share/edk2/aarch64/vars-template-pflash.raw", Format: "raw"},
	},
}

// findFlash returns the first pair of arch that exists under root ("" outside tests).
func findFlash(root, arch string) (flash, bool) {
	for _, f := range flashes[arch] {
		if exists(root+f.Code) && exists(root+f.Vars) {
			f.Code, f.Vars = root+f.Code, root+f.Vars
			return f, true
		}
	}
	return flash{}, false
}

func missingFlash(arch string) error {
	return &UserError{
		Err:  &missing{what: "UEFI firmware for " + arch},
		Hint: "install it: Debian package ovmf (qemu-efi-aarch64 for aarch64), EL9 package edk2-ovmf (edk2-aarch64); or boot with BIOS firmware",
	}
}

func missingQEMU(arch string) error {
	return &UserError{
		Err:  &missing{what: "qemu-system-" + arch},
		Hint: "install it: Debian package qemu-system-x86 (qemu-system-arm for aarch64), EL9 package qemu-kvm",
	}
}

func missingQEMUImg() error {
	return &UserError{
		Err:  &missing{what: "qemu-img"},
		Hint: "install it: Debian package qemu-utils, EL9 package qemu-img",
	}
}

// missing is a needed file or program that is not installed; it is tool.ErrMissing.
type missing struct{ what string }

func (m *missing) Error() string { return m.what + ": not found" }

func (m *missing) Unwrap() error { return tool.ErrMissing }

func exists(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular()
}
