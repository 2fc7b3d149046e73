package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/ulikunitz/xz/lzma"
)

const (
	kernelBase     = 0x9000 // link address of kernel.img
	maxKernel      = 1 << 20
	modulesMagic   = 0x676d696d
	objectModule   = 0
	objectConfig   = 2
	objectPrefix   = 3
	lzmaHeader     = 13 // of the .lzma format, which GRUB leaves out
	lzmaDictionary = 64 << 10
	packedSizeAt   = 0x08
	plainSizeAt    = 0x0c
	redundancyAt   = 0x10 // 0: no Reed-Solomon codes behind
)

// compressedCore is the decompressor with the compressed payload behind it.
func compressedCore(o Options) ([]byte, error) {
	plain, err := payload(o)
	if err != nil {
		return nil, err
	}
	packed, err := compress(plain)
	if err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	head, err := read(o.Files, "lzma_decompress.img", 0)
	if err != nil {
		return nil, err
	}
	if len(head) < redundancyAt+4 {
		return nil, fmt.Errorf("reading GRUB's lzma_decompress.img: %d bytes are too few", len(head))
	}
	le := binary.LittleEndian
	le.PutUint32(head[packedSizeAt:], uint32(len(packed)))
	le.PutUint32(head[plainSizeAt:], uint32(len(plain)))
	le.PutUint32(head[redundancyAt:], 0)
	return append(head, packed...), nil
}

// payload is what runs once it is decompressed: the kernel, then the area with
// modules, configuration and prefix.
func payload(o Options) ([]byte, error) {
	raw, err := read(o.Files, "kernel.img", 0)
	if err != nil {
		return nil, err
	}
	out, err := flatten(raw)
	if err != nil {
		return nil, fmt.Errorf("reading GRUB's kernel.img: %w", err)
	}
	names, err := resolve(o)
	if err != nil {
		return nil, err
	}
	var area []byte
	for _, name := range names {
		mod, err := read(o.Files, name+".mod", 0)
		if err != nil {
			return nil, err
		}
		area = appendObject(area, objectModule, mod)
	}
	if o.Config != nil {
		area = appendObject(area, objectConfig, append(bytes.Clone(o.Config), 0))
	}
	area = appendObject(area, objectPrefix, append([]byte(o.Prefix), 0))
	le := binary.LittleEndian
	out = le.AppendUint32(out, modulesMagic)
	out = le.AppendUint32(out, 12) // where the objects begin
	out = le.AppendUint32(out, uint32(12+len(area)))
	return append(out, area...), nil
}

// appendObject adds one object of the module area, padded to four bytes.
func appendObject(area []byte, kind uint32, data []byte) []byte {
	pad := -len(data) & 3
	area = binary.LittleEndian.AppendUint32(area, kind)
	area = binary.LittleEndian.AppendUint32(area, uint32(8+len(data)+pad))
	return append(append(area, data...), make([]byte, pad)...)
}

// flatten is the memory image of an ELF file's sections, without .bss.
func flatten(raw []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS32 || f.Machine != elf.EM_386 {
		return nil, fmt.Errorf("%v for %v is not GRUB's i386-pc kernel", f.Class, f.Machine)
	}
	var out []byte
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type == elf.SHT_NOBITS {
			continue
		}
		if s.Addr < kernelBase || s.Addr-kernelBase > maxKernel || s.Size > maxKernel {
			return nil, fmt.Errorf("section %q (%#x+%#x) is outside the kernel's memory", s.Name, s.Addr, s.Size)
		}
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("section %q: %w", s.Name, err)
		}
		at := int(s.Addr - kernelBase)
		if grow := at + len(data) - len(out); grow > 0 {
			out = append(out, make([]byte, grow)...)
		}
		copy(out[at:], data)
	}
	if len(out) == 0 {
		return nil, errors.New("it has no sections to load")
	}
	return append(out, make([]byte, -len(out)&3)...), nil
}

// resolve orders the modules so that each comes after what it depends on.
func resolve(o Options) ([]string, error) {
	deps, err := dependencies(o.Files)
	if err != nil {
		return nil, err
	}
	want := o.Modules
	if want == nil {
		want = DefaultModules
	}
	var out []string
	state := map[string]int{} // 1: being visited, 2: done
	var visit func(name, by string) error
	visit = func(name, by string) error {
		need, known := deps[name]
		switch {
		case state[name] == 2:
			return nil
		case state[name] == 1:
			return fmt.Errorf("GRUB's moddep.lst runs in a circle at %q", name)
		case !known || !fs.ValidPath(name) || strings.Contains(name, "/"):
			return fmt.Errorf("GRUB has no module %q, which %s needs", name, by)
		}
		state[name] = 1
		for _, d := range slices.Backward(need) { // the order of grub-mkimage
			if err := visit(d, fmt.Sprintf("module %q", name)); err != nil {
				return err
			}
		}
		state[name] = 2
		out = append(out, name)
		return nil
	}
	for _, name := range want {
		if err := visit(name, "the core image"); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// dependencies reads moddep.lst: "name: what it needs".
func dependencies(files fs.FS) (map[string][]string, error) {
	b, err := read(files, "moddep.lst", 0)
	if err != nil {
		return nil, err
	}
	deps := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if name, rest, ok := strings.Cut(line, ":"); ok {
			deps[strings.TrimSpace(name)] = strings.Fields(rest)
		}
	}
	return deps, nil
}

// compress is LZMA as GRUB's decompressor expects it: no header, no end mark.
func compress(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties: &lzma.Properties{LC: 3, LP: 0, PB: 2}, DictCap: lzmaDictionary,
		Matcher: lzma.HashTable4, Size: int64(len(plain)), SizeInHeader: true,
	}.NewWriter(&out)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes()[lzmaHeader:], nil
}
