package vm

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// A method is one way to run the guest's processors.
type method struct {
	Name  string // "kvm", "tcg", "tcg-single"
	Accel string // value of -accel
	// SingleCPU leaves the guest one processor whatever Options say.
	SingleCPU bool
}

var (
	methodKVM       = method{Name: "kvm", Accel: "kvm"}
	methodTCG       = method{Name: "tcg", Accel: "tcg,thread=multi"}
	methodTCGSingle = method{Name: "tcg-single", Accel: "tcg,thread=single", SingleCPU: true}
)

// methods is the order of attempts. A guest that crashed is tried once more,
// and then on one emulated processor: emulation of several has shown random
// traps in guests that are sound, and nested KVM can hang.
func methods(accel string) []method {
	if accel == "kvm" {
		return []method{methodKVM, methodTCG, methodTCGSingle}
	}
	return []method{methodTCG, methodTCG, methodTCGSingle}
}

// A board is what argv needs beside the options: what was found and made on the host.
type board struct {
	QEMU    string
	Flash   flash  // used with UEFI
	Vars    string // this machine's own copy of the variable store
	Dir     string // folder of the sockets
	Disk    string // the first drive's file, overlay or image
	Format  Format // its format
	Overlay bool   // Disk is an overlay that may be written
	SSHPort int
	Method  method
}

func (b board) socket(name string) string { return filepath.Join(b.Dir, name) }

// argv is the whole command line of the emulator. It is pure.
func argv(o Options, b board) []string {
	a := []string{b.QEMU, "-name", "aither", "-no-user-config", "-nodefaults"}
	a = append(a, machineArgs(o, b)...)
	a = append(a, firmwareArgs(o, b)...)
	a = append(a, diskArgs(o, b)...)
	a = append(a, networkArgs(o, b)...)
	a = append(a, portArgs(o, b)...)
	a = append(a, "-S") // paused until every socket is connected: nothing the guest says is lost
	return append(a, o.Args...)
}

func machineArgs(o Options, b board) []string {
	machine, devices := "q35", []string{"-vga", "std", "-device", "pvpanic"}
	if o.Arch == "aarch64" {
		machine, devices = "virt", []string{"-device", "virtio-gpu-pci"}
	}
	if o.Firmware == UEFI && o.Kernel == nil && b.Flash.SMM {
		machine += ",smm=on"
		devices = append(devices, "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	cpus := o.CPUs
	if b.Method.SingleCPU {
		cpus = 1
	}
	a := []string{
		"-machine", machine, "-accel", b.Method.Accel, "-cpu", cpuFor(b.Method.Accel),
		"-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(o.Memory) + "M", "-rtc", "base=utc", "-display", "none",
	}
	return append(append(a, devices...), "-device", "virtio-rng-pci")
}

func firmwareArgs(o Options, b board) []string {
	if o.Kernel != nil {
		a := []string{"-kernel", o.Kernel.Image}
		if o.Kernel.Initrd != "" {
			a = append(a, "-initrd", o.Kernel.Initrd)
		}
		return append(a, "-append", o.Kernel.Args)
	}
	if o.Firmware == BIOS {
		return nil
	}
	return []string{
		"-drive", fmt.Sprintf("if=pflash,unit=0,format=%s,readonly=on,file=%s", b.Flash.Format, escape(b.Flash.Code)),
		"-drive", fmt.Sprintf("if=pflash,unit=1,format=%s,file=%s", b.Flash.Format, escape(b.Vars)),
	}
}

func diskArgs(o Options, b board) []string {
	var a []string
	if b.Disk != "" {
		d := Disk{Path: b.Disk, Format: b.Format, Changes: o.Disk.Changes}
		if b.Overlay {
			d.Changes = Keep
		}
		a = driveArgs(0, d)
	}
	for i, d := range o.Extra {
		a = append(a, driveArgs(i+1, d)...)
	}
	return a
}

func driveArgs(n int, d Disk) []string {
	format := d.Format
	if format == "" {
		format = Raw
	}
	drive := fmt.Sprintf("if=none,id=disk%d,format=%s,discard=unmap,file=%s", n, format, escape(d.Path))
	if d.Changes == Drop {
		drive += ",snapshot=on"
	}
	dev := fmt.Sprintf("virtio-blk-pci,drive=disk%d", n)
	if n == 0 {
		dev += ",bootindex=0"
	}
	return []string{"-drive", drive, "-device", dev}
}

func networkArgs(o Options, b board) []string {
	if o.Network == NoNetwork {
		return []string{"-nic", "none"}
	}
	net := fmt.Sprintf("user,id=net0,hostfwd=tcp:127.0.0.1:%d-:22", b.SSHPort)
	if o.Network == Restricted {
		net += ",restrict=on"
	}
	return []string{"-netdev", net, "-device", "virtio-net-pci,netdev=net0"}
}

func portArgs(o Options, b board) []string {
	socket := func(id string) string {
		return fmt.Sprintf("socket,id=%s,path=%s,server=on,wait=off", id, escape(b.socket(id)))
	}
	a := []string{"-chardev", socket("qmp"), "-mon", "chardev=qmp,mode=control"}
	if o.Console == Terminal {
		con := "stdio,id=console,mux=on,signal=off"
		if o.SerialLog != "" {
			con += ",logfile=" + escape(o.SerialLog)
		}
		a = append(a, "-chardev", con, "-mon", "chardev=console,mode=readline")
	} else {
		a = append(a, "-chardev", socket("console"))
	}
	a = append(a, "-serial", "chardev:console")
	if o.CheckPort {
		a = append(a, "-device", "virtio-serial-pci", "-chardev", socket("check"),
			"-device", "virtserialport,chardev=check,name="+CheckPortName)
	}
	return a
}

// escape doubles the commas of a value: QEMU splits its options at single ones.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
