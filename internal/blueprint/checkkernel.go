package blueprint

import (
	"slices"
	"strconv"
	"strings"
)

// ownedArgs are kernel arguments that something else decides, with what that is.
var ownedArgs = map[string]string{
	"ostree":                        "the deployment sets it",
	"root":                          "the disk sets it",
	"rootfstype":                    "the disk sets it",
	"BOOT_IMAGE":                    "the boot loader sets it",
	"initrd":                        "the boot loader sets it",
	"init":                          "the image's systemd is the first process",
	"rdinit":                        "the image's initramfs is the first program",
	"machine_id":                    "every machine makes its own",
	"rd.break":                      "it gives everyone at the console a root shell",
	"rd.shell":                      "it gives everyone at the console a root shell",
	"single":                        "it gives everyone at the console a root shell",
	"systemd.debug_shell":           "it gives everyone at the console a root shell",
	"systemd.machine_id":            "every machine makes its own",
	"systemd.set_credential":        "secrets do not belong on the kernel command line",
	"systemd.set_credential_binary": "secrets do not belong on the kernel command line",
}

// warnedArgs weaken the machine without breaking it.
var warnedArgs = map[string]string{
	"selinux=0":       "SELinux is switched off",
	"enforcing=0":     "SELinux is not enforced",
	"mitigations=off": "the processor's leaks stay open",
	"audit=0":         "nothing is audited",
}

// kernelArgs checks arguments that are given one by one.
func (c *checker) kernelArgs(args []string, w place) {
	for i, arg := range args {
		if c.given(arg, w.to(i)) {
			c.kernelArg(arg, w.to(i))
		}
	}
	c.unique(args, func(i int) place { return w.to(i) }, "argument")
}

// kernelLine checks customizations.kernel.append, a line of arguments.
func (c *checker) kernelLine(line string, w place) {
	if !c.given(line, w) {
		return
	}
	args, closed := splitArgs(line)
	if !closed {
		c.errorf(w, "bad-karg", "close the quotes", "a quote in %q does not end", line)
		return
	}
	seen := map[string]bool{}
	for _, arg := range args {
		c.kernelArg(arg, w)
		if seen[arg] {
			c.errorf(w, "duplicate", "keep one of the two", "argument %q was already given", arg)
		}
		seen[arg] = true
	}
}

// kernelArg checks one argument.
func (c *checker) kernelArg(arg string, w place) {
	split, closed := splitArgs(arg)
	name, value, _ := strings.Cut(arg, "=")
	owner, owned := ownedArgs[name]
	switch {
	case strings.ContainsFunc(arg, func(r rune) bool { return r < 0x20 || r >= 0x7f }):
		c.errorf(w, "bad-karg", "", "%q holds letters that cannot stand on a kernel command line", arg)
	case !closed:
		c.errorf(w, "bad-karg", "close the quotes", "a quote in %q does not end", arg)
	case len(split) != 1:
		c.errorf(w, "bad-karg", argHint(split), "%q is not one argument", arg)
	case strings.ContainsAny(arg, "$\\`"):
		c.errorf(w, "bad-karg", "", "%q would be changed by the boot loader, which expands \"$\" and \"\\\"", arg)
	case owned:
		c.errorf(w, "refused-karg", "leave it out: "+owner, "%q cannot be set here", name)
	case arg == "systemd.gpt_auto=1" || arg == "systemd.gpt_auto" || arg == "rd.systemd.gpt_auto=1":
		c.errorf(w, "refused-karg", "leave it out: mounting the ESP on /boot makes upgrades fail", "%q cannot be set here", arg)
	case name == "" || strings.HasPrefix(name, "-"):
		c.errorf(w, "bad-karg", "write name=value or name", "%q is no kernel argument", arg)
	case warnedArgs[arg] != "":
		c.warnf(w, "weak-karg", "leave it out", "with %q %s", arg, warnedArgs[arg])
	case name == "console" && strings.HasPrefix(value, "ttyS"):
		c.warnf(w, "serial-console", "leave it out: output.serial_console adds it to the qcow2", "%q makes real machines without that port boot slowly", arg)
	}
}

func argHint(split []string) string {
	if len(split) == 0 {
		return "leave it out"
	}
	return "write " + quoteAll(split)
}

// splitArgs splits a line at blanks outside double quotes, as the kernel does;
// closed is false if a quote does not end.
func splitArgs(line string) (args []string, closed bool) {
	quoted, start := false, -1
	for i := range len(line) {
		c := line[i]
		blank := (c == ' ' || c == '\t' || c == '\n') && !quoted
		if c == '"' {
			quoted = !quoted
		}
		if !blank && start < 0 {
			start = i
		} else if blank && start >= 0 {
			args = append(args, line[start:i])
			start = -1
		}
	}
	if start >= 0 {
		args = append(args, line[start:])
	}
	return args, !quoted
}

// knownTypes are output types of other tools and of later versions.
var knownTypes = []string{"iso", "anaconda-iso", "bootc-installer", "bootiso", "bootc-generic-iso", "ami", "gce", "vmdk", "vhd", "ova", "pxe-tar-xz"}

func (c *checker) output(types []string, compress string) {
	w := key("output", "types")
	for i, t := range types {
		if slices.Contains(knownTypes, t) {
			c.errorf(w.to(i), "unsupported", "use "+quoteAll(OutputTypes), "the output type %q is not supported", t)
			continue
		}
		c.oneOf(t, w.to(i), OutputTypes...)
	}
	if types != nil && len(types) == 0 {
		c.errorf(w, "bad-value", "leave it out for "+quoteAll(OutputTypes), "%q is empty: nothing would be written", w)
	}
	c.unique(types, func(i int) place { return w.to(i) }, "type")
	c.oneOf(compress, key("output", "compress"), "none", "zlib", "zstd")
	if compress != "" && compress != "none" && types != nil && !slices.Contains(types, "qcow2") {
		c.keyf(key("output", "compress"), "conflict", "add \"qcow2\" to output.types, or leave it out", "output.compress = %s means nothing without a qcow2", strconv.Quote(compress))
	}
}
