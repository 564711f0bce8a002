# `make help` lists the targets.
SHELL := /bin/bash

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: test
test: lint unit ## Run everything that CI runs

.PHONY: lint
lint: ## Formatting and lints
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: unit
unit: ## Tests that need no cluster
	cargo test --workspace --locked

.PHONY: lab-up
lab-up: ## Three clusters and three stores on this machine
	cargo run --locked -p tripod-e2e --bin lab -- up

.PHONY: lab-down
lab-down: ## Remove the lab
	cargo run --locked -p tripod-e2e --bin lab -- down
