package plan

import "fmt"

// Usage is what the root file system has to hold, in bytes.
type Usage struct {
	// Image is the content of the deployed tree, each file counted once.
	Image int64
	// Bound is the container images that come with the disk, Models the models.
	Bound, Models int64
	// Extra is asked for on top, by the user.
	Extra int64
}

// The constants of the size rules.
const (
	espDefault  = 512 * MiB
	espReserve  = 64 * MiB // firmware capsules and update scratch
	bootFloor   = 2 * GiB
	rootFloor   = 2 * GiB
	rootBallast = 512 * MiB
)

// RootSize is the size that a root file system needs to hold u and one more
// version of the image beside it. It is kept small on purpose: root grows to
// the medium at first boot.
func RootSize(u Usage) Size {
	sum := 2*u.Image + u.Bound + u.Models
	need := ceil(sum+sum*15/100+rootBallast+u.Extra, MiB)
	if need <= rootFloor {
		return Size{rootFloor, fmt.Sprintf("smallest root, 2 GiB (by rule %d MiB: %s)", need/MiB, u.formula())}
	}
	return Size{need, u.formula()}
}

func (u Usage) formula() string {
	s := fmt.Sprintf("2 × image %d MiB", mib(u.Image))
	if u.Bound > 0 {
		s += fmt.Sprintf(" + bound images %d MiB", mib(u.Bound))
	}
	if u.Models > 0 {
		s += fmt.Sprintf(" + models %d MiB", mib(u.Models))
	}
	s += fmt.Sprintf(" + 15 %% + %d MiB ballast", rootBallast/MiB)
	if u.Extra > 0 {
		s += fmt.Sprintf(" + %d MiB asked for", mib(u.Extra))
	}
	return s
}

// BootSize is the size of a separate /boot for kernels and initial RAM disks of
// these sizes: three pairs (booted, rollback, staged) fill 60 % of it.
func BootSize(kernel, initramfs int64) Size {
	pair := kernel + initramfs
	if pair == 0 {
		return Size{bootFloor, "smallest /boot, 2 GiB"}
	}
	need := ceil(pair*3*10/6, MiB)
	formula := fmt.Sprintf("3 × (kernel %d MiB + initramfs %d MiB) / 0.6", mib(kernel), mib(initramfs))
	if need <= bootFloor {
		return Size{bootFloor, fmt.Sprintf("smallest /boot, 2 GiB (by rule %d MiB: %s)", need/MiB, formula)}
	}
	return Size{need, formula}
}

// ESPSize is the size of an EFI system partition for boot loader files of
// payload bytes: twice, since an update writes the new ones beside the old.
func ESPSize(payload int64) Size {
	need := ceil(2*payload+espReserve, MiB)
	formula := fmt.Sprintf("2 × boot loaders %d MiB + %d MiB reserve", mib(payload), espReserve/MiB)
	if need <= espDefault {
		return Size{espDefault, fmt.Sprintf("default, 512 MiB (by rule %d MiB: %s)", need/MiB, formula)}
	}
	return Size{need, formula}
}

func ceil(n, grain int64) int64 { return (n + grain - 1) / grain * grain }

func mib(n int64) int64 { return ceil(n, MiB) / MiB }
