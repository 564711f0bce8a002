# Tripod (鼎). `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

LAB_CACHE := $(or $(TRIPOD_LAB_CACHE),$(HOME)/.cache/tripod-lab)
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
BINARY := target/$(HOST)/release/tripod
IMAGE := docker.io/library/tripod:dev
IMAGE_ARCHIVE := target/image/tripod.oci.tar
HELM := $(or $(shell command -v helm),$(lastword $(wildcard $(LAB_CACHE)/bin/*/helm)))
LAB := cargo run --quiet --release -p tripod-e2e --bin lab --
DEMO := cargo run --quiet --release -p tripod-e2e --bin demo --
STORIES := cargo test --release -p tripod-e2e --test '*' -- --test-threads 1

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo demo-quick demo-down
demo: image ## three centres, from nothing to a drill report; run it again at will
	@$(DEMO) --image $(IMAGE_ARCHIVE) --workload "$$($(MAKE) -s --no-print-directory -C e2e/demo)"
demo-quick: image ## the same with one cluster and three stores
	@$(DEMO) --quick --image $(IMAGE_ARCHIVE) --workload "$$($(MAKE) -s --no-print-directory -C e2e/demo)"
demo-down: ## stop what the demonstration started
	@$(LAB) down

.PHONY: lab-up lab-down
lab-up: ## the three centres only, without the operator
	@$(LAB) up
lab-down: ## stop them; nothing is left behind
	@$(LAB) down

.PHONY: build image workload
build: ## the operator, a static binary
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked -p tripod-manager --bin tripod --target $(HOST)
# Without a daemon or a registry: the final stage of operator/Dockerfile around the binary of `build`.
image: build ## the operator's image, an OCI archive in target/image
	@work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	install -D -m 0755 $(BINARY) "$$work/out/tripod"; \
	cp /etc/ssl/certs/ca-certificates.crt "$$work/out/"; \
	store="--root $$work/storage --runroot $$work/run --storage-driver vfs"; \
	buildah $$store bud --quiet --isolation chroot -f operator/Dockerfile --target final \
		--build-context "build=$$work" -t $(IMAGE) "$$work/out" >/dev/null; \
	mkdir -p $(dir $(IMAGE_ARCHIVE)); \
	buildah $$store push --quiet $(IMAGE) "oci-archive:$$work/image.tar:$(IMAGE)"; \
	mv "$$work/image.tar" $(IMAGE_ARCHIVE); \
	echo $(IMAGE_ARCHIVE)
workload: ## the demonstration's workload, an OCI archive
	@$(MAKE) -s --no-print-directory -C e2e/demo

.PHONY: test lint unit charts-test stories deny
test: lint deny unit charts-test stories ## everything
lint: ## format and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
unit: ## tests that need no cluster
	cargo test --workspace --exclude tripod-e2e --locked
stories: image ## tests on three real clusters; needs root
	TRIPOD_IMAGE=$(abspath $(IMAGE_ARCHIVE)) TRIPOD_WORKLOAD="$$($(MAKE) -s --no-print-directory -C e2e/demo)" $(STORIES)
deny: ## licences, sources and known vulnerabilities of dependencies
	@if command -v cargo-deny >/dev/null; then \
		cargo deny --locked check bans licenses sources; \
		cargo deny --locked check advisories || { \
			cargo deny --locked --offline check advisories 2>&1 | grep -q 'failed to load\|failed to open\|failed to fetch' \
			&& echo 'deny: the advisory database could not be had; not checked' >&2; }; \
	else echo 'deny: cargo-deny is not installed (cargo install --locked cargo-deny); not checked' >&2; fi
charts-test: ## lint the charts and try their good and bad values
	@[ -n "$(HELM)" ] || { echo 'charts-test: helm is missing; `make lab-up` builds one' >&2; exit 1; }
	@fail=0; for chart in tripod-crds tripod department-request; do \
		for values in charts/tests/$$chart/good/*.yaml; do \
			out=$$($(HELM) lint --strict -f "$$values" charts/$$chart 2>&1 && \
				$(HELM) template release charts/$$chart -n tripod-system --api-versions monitoring.coreos.com/v1 -f "$$values" 2>&1) \
			|| { echo "$$values: refused"; echo "$$out"; fail=1; }; \
		done; \
		for values in charts/tests/$$chart/bad/*.yaml; do \
			want=$$(sed -n '1s/^# expect: //p' "$$values"); \
			if out=$$($(HELM) template release charts/$$chart -n tripod-system -f "$$values" 2>&1); then \
				echo "$$values: accepted"; fail=1; \
			elif [ -z "$$want" ] || ! grep -qF -- "$$want" <<<"$$out"; then \
				echo "$$values: refused, but the message doesn't say '$$want':"; echo "$$out"; fail=1; \
			fi; \
		done; \
	done; \
	[ $$fail = 0 ] && echo 'charts: good values render, bad ones are refused'

.PHONY: charts
charts: ## copy the generated definitions into their chart
	@mkdir -p charts/tripod-crds/files
	@rm -f charts/tripod-crds/files/*.yaml
	cp crds/yaml/*.yaml charts/tripod-crds/files/
