package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/aitheros/aither-image/internal/blueprint"
	"github.com/aitheros/aither-image/internal/build"
	"github.com/aitheros/aither-image/internal/compose"
	"github.com/aitheros/aither-image/internal/debian"
	"github.com/aitheros/aither-image/internal/disk"
	"github.com/aitheros/aither-image/internal/layer"
	"github.com/aitheros/aither-image/internal/registry"
	"github.com/aitheros/aither-image/internal/tool"
	"github.com/aitheros/aither-image/internal/vm"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{errors.New("anything"), exitFailed},
		{&usageError{errors.New("x")}, exitUsage},
		{blueprint.Problems{{Text: "x"}}, exitUsage},
		{&build.UsageError{Text: "x"}, exitUsage},
		{vm.ErrOptions, exitUsage},
		{compose.ErrUsage, exitUsage},
		{&disk.FullError{Err: syscall.ENOSPC}, exitNoFit},
		{&disk.TooSmallError{}, exitNoFit},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, exitNoFit},
		{&layer.AlteredError{}, exitVerify},
		{&registry.DigestError{}, exitVerify},
		{debian.ErrVerify, exitVerify},
		{registry.ErrNetwork, exitNetwork},
		{debian.ErrNetwork, exitNetwork},
		{tool.ErrMissing, exitMissing},
		{compose.ErrPrivilege, exitMissing},
		{fs.ErrPermission, exitMissing},
		{context.Canceled, exitInterrupt},
		{errors.Join(registry.ErrNetwork, context.Canceled), exitInterrupt},
		{&silentError{exitVerify}, exitVerify},
	} {
		if got := exitCode(fmt.Errorf("building: %w", c.err)); got != c.code {
			t.Errorf("%T %v: got %d, want %d", c.err, c.err, got, c.code)
		}
	}
}
