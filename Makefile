# aither-image. `make` alone prints the targets; a comment behind a target is its help.

BLUEPRINT ?= lab
OUTPUT    ?= build
PREFIX    ?= /usr/local
CACHE     ?= .cache/aither-image
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Tags of every build and test: containers/image without gpgme, containers/storage
# without btrfs headers, and pure Go resolvers so that a static link is complete.
TAGS := containers_image_openpgp,exclude_graphdriver_btrfs,osusergo,netgo,sqlite_omit_load_extension
export GOFLAGS := -tags=$(TAGS) -buildvcs=false
export CGO_ENABLED := 1
# What this release has no package of; its absence does not fail a test in CI.
export AITHER_LACKING = $(shell cat .cache/lacking 2>/dev/null)

GO  := ci/go
BIN := build/bin/aither-image

LDFLAGS = -s -w -X main.version=$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help image test check boots nightly bench build install clean docs fmt \
	setup-build setup-test lint unit one-boot staticcheck race FORCE

help: ## print the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  variables: BLUEPRINT=$(BLUEPRINT) OUTPUT=$(OUTPUT) PREFIX=$(PREFIX)"

image: setup-build $(BIN) ## build the lab image: OUTPUT/image/disk.raw and OUTPUT/qcow2/disk.qcow2
	$(BIN) build --type raw,qcow2 --output $(OUTPUT) --cache $(CACHE) $(BLUEPRINT)

test: setup-test lint unit one-boot ## the linters, all tests, and one UEFI boot of the fresh disk

check: setup-test lint race ## the linters, and all tests under the race detector

# The second shape of a base, chunk layers over one ostree commit, is made by a
# test of its own, which compiles the tool for it.
boots: setup-test $(BIN) ## every boot: UEFI, BIOS, raw, qcow2, both base shapes
	$(BIN) build --type raw,qcow2 --output build --cache $(CACHE) lab
	AITHER_LAB=$(CURDIR)/.cache/lab $(GO) test -count=1 -timeout 2h ./test/lab/...
	$(BIN) build --type raw --output build/encapsulated --cache $(CACHE) --update-source localhost:5000/aither/lab:latest --image oci:$(CURDIR)/.cache/lab/oci-encapsulated:latest
	AITHER_BOOTS=1 AITHER_IMAGE_DIR=$(CURDIR)/build AITHER_ENCAPSULATED_DIR=$(CURDIR)/build/encapsulated $(GO) test -count=1 -v -timeout 4h ./test/boot/...

nightly: boots ## boots, long sweeps and every fuzz target for a minute
	AITHER_SLOW=1 AITHER_LAB=$(CURDIR)/.cache/lab $(GO) test -count=1 -timeout 4h ./...
	@set -e; for p in $$(grep -rl --include='*_test.go' '^func Fuzz' internal cmd firstboot 2>/dev/null | xargs -r -n1 dirname | sort -u); do \
		for f in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$p/*_test.go); do \
			echo "fuzz $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime 60s ./$$p; \
		done; done

bench: setup-test $(BIN) ## speed and memory as ratios against other programs, in one run
	$(BIN) build --type raw,qcow2 --output build --cache $(CACHE) lab
	$(GO) run ./test/bench -aither-image $(BIN) -scratch .cache/bench

build: setup-build $(BIN) ## only the program: build/bin/aither-image

install: build docs ## the program, its man pages and completions under PREFIX
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/aither-image
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions
	install -m 644 build/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	$(BIN) completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/aither-image
	$(BIN) completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_aither-image

docs: $(BIN) ## man pages into build/man
	$(BIN) man --output build/man

fmt: ## format the Go files
	gofmt -l -w $(GOFILES)

clean: ## remove build/ (the caches under .cache/ stay)
	rm -rf build

# --- the parts of the above -------------------------------------------------

GOFILES = $(shell git ls-files --cached --others --exclude-standard '*.go')

setup-build:
	@ci/setup build

setup-test:
	@ci/setup test

# go's own cache decides whether anything is to be done. EL9 keeps the static C
# library in a repository of its own: without it the program is linked
# dynamically and runs on this release and newer ones only.
$(BIN): FORCE
	@static='-linkmode external -extldflags "-static"'; \
	test -e "$$($(CC) -print-file-name=libc.a)" || { echo 'no static C library here: linking dynamically' >&2; static=; }; \
	$(GO) build -trimpath -ldflags "$(LDFLAGS) $$static" -o $@ ./cmd/aither-image

lint: staticcheck
	@ci/lint

staticcheck: | .cache/tools/staticcheck

.cache/tools/staticcheck: ci/tools/go.mod ci/tools/go.sum
	cd ci/tools && CGO_ENABLED=0 GOFLAGS= ../go build -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck

unit:
	$(GO) test -timeout 20m ./...

race:
	$(GO) test -race -timeout 60m ./...

# The freshly built disk boots once under UEFI and checks itself from inside.
one-boot: $(BIN)
	$(BIN) build --type raw,qcow2 --output build --cache $(CACHE) lab
	@echo "not run here: BIOS, qcow2 and second-shape boots (make boots); long sweeps and fuzzing (make nightly)"
	AITHER_BOOT_ONE=1 AITHER_IMAGE_DIR=$(CURDIR)/build $(GO) test -count=1 -v -timeout 30m ./test/boot/...

FORCE:
