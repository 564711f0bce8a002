# Tripod (鼎). `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
BINARY := target/$(HOST)/release/tripod
IMAGE := docker.io/library/tripod
IMAGE_ARCHIVE := target/image/tripod.oci.tar
DENY_VERSION := 0.20.2
# One tree for all that runs in a lab: the operator is static, for its empty image, and the rest is built with it.
CARGO := RUSTFLAGS="-C target-feature=+crt-static" cargo
PROFILE := --release --locked --target $(HOST)
RELEASE := $(PROFILE) -p tripod-manager -p tripod-e2e
UNIT := --locked --workspace --exclude tripod-e2e
# clippy as the compiler of our own crates: what is linted is what the tests run, and compiled once. `cargo clippy` by
# itself would check every dependency a second time, in a form that tests can't use.
LINTED := RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings cargo
LAB := target/$(HOST)/release/lab
DEMO := target/$(HOST)/release/demo
BENCH := target/$(HOST)/release/bench-tenancy
WORKLOAD = $$($(MAKE) -s --no-print-directory -C e2e/demo)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo demo-quick demo-down
demo: image ## three centres, from nothing to a drill report; run it again at will
	@$(DEMO) --tripod $(BINARY) --image $(IMAGE_ARCHIVE) --workload "$(WORKLOAD)"
demo-quick: image ## the same with one cluster and three stores
	@$(DEMO) --quick --tripod $(BINARY) --image $(IMAGE_ARCHIVE) --workload "$(WORKLOAD)"
demo-down: build ## stop what the demonstrations started
	@$(LAB) down
	@$(LAB) --name tripod-quick down

.PHONY: lab-up lab-down
lab-up: build ## the three centres only, without the operator
	@$(LAB) up
lab-down: build ## stop them; nothing is left behind
	@$(LAB) down

.PHONY: prerequisites build image workload crds
prerequisites: build ## Debian packages, and the lab's programs, built once
	@$(LAB) build
build: ## the operator, a static binary, and the lab
	$(CARGO) build $(RELEASE) --bins
# Without a daemon or a registry: the final stage of operator/Dockerfile around the binary of `build`. The tag is of
# the binary, so that the same one is never packed twice and another one is never taken for it.
image: prerequisites ## the operator's image, an OCI archive in target/image
	@tag=$$(cat operator/Dockerfile $(BINARY) | sha256sum | cut -c1-12); archive=target/image/$$tag.oci.tar; \
	if [ ! -e "$$archive" ]; then \
		work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
		install -D -m 0755 $(BINARY) "$$work/out/tripod"; \
		cp /etc/ssl/certs/ca-certificates.crt "$$work/out/"; \
		store="--root $$work/storage --runroot $$work/run --storage-driver vfs"; \
		buildah $$store bud --quiet --isolation chroot -f operator/Dockerfile --target final \
			--build-context "build=$$work" -t $(IMAGE):$$tag "$$work/out" >/dev/null; \
		mkdir -p target/image; rm -f target/image/*.oci.tar; \
		buildah $$store push --quiet $(IMAGE):$$tag "oci-archive:$$work/image.tar:$(IMAGE):$$tag"; \
		mv "$$work/image.tar" "$$archive"; \
	fi; \
	ln -sf "$$tag.oci.tar" $(IMAGE_ARCHIVE)
workload: prerequisites ## the demonstration's workload, an OCI archive
	@$(MAKE) -s --no-print-directory -C e2e/demo
crds: ## write crds/yaml from the types
	TRIPOD_WRITE_CRDS=1 $(LINTED) test --quiet $(UNIT) --test yaml

.PHONY: bench-tenancy
# FEW="--departments 20 --systems 5 --quiet-seconds 20" is over in two minutes; without it, an hour may pass.
bench-tenancy: image ## a thousand departments with ten systems each, on a cluster of their own
	@$(BENCH) --image $(IMAGE_ARCHIVE) $(FEW)

.PHONY: bench-utilisation
# SYSTEMS=50 is over in a minute; the whole of it in ten.
bench-utilisation: image ## a month of a thousand systems, reported on a cluster of its own and reckoned a second time
	@trap '$(LAB) --name tripod-month down' EXIT; $(LAB) --name tripod-month up --clusters production; \
	export KUBECONFIG=$$($(LAB) --name tripod-month kubeconfig production) TRIPOD_SYSTEMS=$(or $(SYSTEMS),1000); \
	$(BINARY) crds | $$($(LAB) program kubectl) apply --server-side -f - >/dev/null; \
	$(CARGO) test $(RELEASE) --bin tripod -- \
		--ignored --nocapture --exact utilisation::month_tests::a_month_of_many_systems_is_reported_exactly

.PHONY: bench-replication faults-replication
PEERS := $(HOME)/.cache/tripod-lab/peers
# WORK="--work small --times 1" does one of them. Other clients are built once from their registries, and left out where they can't be had.
bench-replication: ## the replication engine against others, on stores in memory
	$(CARGO) build $(RELEASE) -p tripod-replication --examples --bins
	@mkdir -p $(PEERS)/bin
	@[ -x $(PEERS)/bin/rclone ] || GOBIN=$(PEERS)/bin go install github.com/rclone/rclone@v1.76.0 || true
	@[ -x $(PEERS)/bin/s3sync ] || cargo install --quiet --locked --root $(PEERS) s3sync@1.62.4 || true
	@[ -x $(PEERS)/bin/mc ] || GOBIN=$(PEERS)/bin go install github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9 || true
	@[ -x $(PEERS)/bin/juicefs ] || GOBIN=$(PEERS)/bin go install github.com/juicedata/juicefs@v1.3.0 || true
	@target/$(HOST)/release/bench-replication --tripod $(BINARY) --examples target/$(HOST)/release/examples --peers $(PEERS)/bin $(WORK)

.PHONY: bench-backup
# WORK="--work mixed --objects 1000" is over in a few minutes.
bench-backup: image ## backup and restore of many objects beside Velero, and of many files beside restic and kopia
	@[ -x $(PEERS)/velero/velero ] || (cd e2e/bench/backup/velero && go build -o $(PEERS)/velero/velero github.com/vmware-tanzu/velero/cmd/velero)
	@[ -x $(PEERS)/velero/plugins/velero-plugin-for-aws ] || (cd e2e/bench/backup/velero && \
		go build -o $(PEERS)/velero/plugins/velero-plugin-for-aws github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws)
	@[ -x $(PEERS)/bin/kopia ] || (cd e2e/bench/backup/velero && go build -o $(PEERS)/bin/kopia github.com/kopia/kopia)
	@[ -x $(PEERS)/bin/restic ] || GOBIN=$(PEERS)/bin go install github.com/restic/restic/cmd/restic@v0.18.1
	@target/$(HOST)/release/bench-backup --image $(IMAGE_ARCHIVE) --velero $(PEERS)/velero --restic $(PEERS)/bin/restic \
		--kopia $(PEERS)/bin/kopia $(WORK)

.PHONY: fuzz
# In CI the same with a few thousand. CASES=1000000 takes longer.
fuzz: ## hostile archives: streams to movers, tarballs of Velero, objects and their paths in a point
	PROPTEST_CASES=$(or $(CASES),200000) $(CARGO) test $(PROFILE) -p tripod-manager --bin tripod -- --nocapture hostile_tests no_tarball_yields
	PROPTEST_CASES=$(or $(CASES),200000) $(CARGO) test $(PROFILE) -p tripod-domain --lib -- --nocapture nothing_that_is_accepted

.PHONY: faults
# In CI the same with fewer kinds of faults, and with few seeds.
faults: faults-replication ## every fault at every request of what is done to a vault, a kill at every write to the API server, and replication
	TRIPOD_FAULTS=all $(CARGO) test $(RELEASE) --bin tripod -- --nocapture pull::fault_tests
	TRIPOD_FAULTS=all $(MAKE) --no-print-directory stories STORY=killed_at_a_write

# SEEDS=100 is over in seconds; FIRST=… begins with another one.
faults-replication: ## random histories, faults and kills, and odd objects; both sides have to end alike
	TRIPOD_SEEDS=$(or $(SEEDS),10000) TRIPOD_FIRST_SEED=$(or $(FIRST),1) \
		$(CARGO) test $(PROFILE) -p tripod-replication --test faults --test history --test odd_objects -- --nocapture

.PHONY: test lint unit charts-test stories deny
test: compiled lint unit deny charts-test stories ## everything
lint: ## format and lints
	cargo fmt --all --check
	$(LINTED) test --workspace --all-targets --locked --no-run
unit: ## tests that need no cluster
	$(LINTED) test $(UNIT)
# KEEP_LAB=1 leaves the lab up, for the next run or for a look.
stories: image ## tests on real clusters; needs root. Some of them: make stories STORY=part-of-a-name
	@export TRIPOD_LAB=$${TRIPOD_LAB:-tripod-test}; \
	[ -n "$${KEEP_LAB:-}" ] || trap '$(LAB) down' EXIT; \
	TRIPOD_IMAGE=$(abspath $(IMAGE_ARCHIVE)) TRIPOD_BINARY=$(abspath $(BINARY)) TRIPOD_WORKLOAD="$(WORKLOAD)" \
	$(CARGO) test $(RELEASE) --lib --test stories -- --test-threads 1 --nocapture $(STORY)
deny: cargo-deny ## licences, sources and known vulnerabilities of dependencies
	cargo deny --locked --log-level error check bans licenses sources
	@cargo deny --locked --log-level error check advisories 2>target/advisories.log || { \
		grep -q 'failed to fetch\|failed to load\|failed to open' target/advisories.log || { cat target/advisories.log >&2; exit 1; }; \
		echo 'deny: the database of advisories could not be had; vulnerabilities were not checked' >&2; }
charts-test: prerequisites ## lint the charts and try their good and bad values
	@charts/tests/run "$$($(LAB) program helm)" "$$($(LAB) program promtool)"

# All that is compiled, side by side and before anything is tested: one crate, or a link, keeps one core busy.
.PHONY: compiled compiled-crates compiled-programs cargo-deny
compiled:
	@$(MAKE) --no-print-directory -j2 compiled-programs compiled-crates
compiled-programs:
	$(CARGO) build $(RELEASE) --bin lab
	@$(LAB) build --stores
	@$(MAKE) --no-print-directory cargo-deny
compiled-crates: lint
	$(CARGO) build $(RELEASE) --bins
	$(CARGO) test $(RELEASE) --lib --test stories --no-run
cargo-deny:
	@cargo deny --version >/dev/null 2>&1 || \
		CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0 cargo install --quiet --locked --debug cargo-deny@$(DENY_VERSION)
