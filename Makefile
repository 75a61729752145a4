tool     := go tool -modfile=$(CURDIR)/tools/go.mod
fuzztime ?= 30s

# Separate modules, so that their dependencies do not affect users of the library.
others := examples bench conformance/cluster conformance/failures internal/integration metrics natsbroker redisbroker

.DEFAULT_GOAL := help
SHELL := bash

.PHONY: check
check: lint test ## all checks that a change must pass

.PHONY: lint
lint: ## linters, modernizers, tidiness, and no unreviewed change of the API
	$(tool) golangci-lint config verify
	@for module in . $(others); do \
		echo "lint $$module"; \
		(cd $$module && $(tool) golangci-lint run && go fix -diff ./... && go mod tidy -diff) || exit 1; \
	done
	@$(MAKE) --no-print-directory print-api | diff -u testdata/api.txt - || \
		{ echo 'the exported API has changed: see "make api"'; exit 1; }

.PHONY: fmt
fmt: ## format, modernize and tidy
	@for module in . $(others); do \
		(cd $$module && $(tool) golangci-lint fmt && go fix ./... && go mod tidy) || exit 1; \
	done

.PHONY: test
test: ## all tests, with the race detector
	@for module in . $(others); do \
		(cd $$module && go test -race -shuffle=on ./...) || exit 1; \
	done

# The packages of the library, as a list for -coverpkg.
library = $(shell go list ./... | grep -vE '/(cmd|conformance|internal/(load|suite))(/|$$)' | paste -sd, -)

.PHONY: coverage
coverage: ## all tests of the library, with their combined coverage
	@mkdir -p artifacts
	@set -o pipefail; library=$(library); status=0; rm -f artifacts/coverage-*.out; \
	for module in . internal/integration; do \
		(cd $$module && go test -coverpkg=$$library -coverprofile=$(CURDIR)/artifacts/coverage-$$(basename $$PWD).out ./...) \
			| sed 's/ of statements in .*//' || status=1; \
	done; \
	awk 'FNR > 1 { size[$$1] = $$2; if ($$3) ran[$$1] = 1 } \
		END { \
			print "statements that tests run:"; \
			for (block in size) { \
				package = block; sub("/[^/]*$$", "", package); \
				all[package] += size[block]; all["in all"] += size[block]; \
				if (block in ran) { hit[package] += size[block]; hit["in all"] += size[block] } \
			} \
			for (p in all) printf "%5.1f %%  %s\n", 100 * hit[p] / all[p], p | "sort -k 3" \
		}' artifacts/coverage-*.out; \
	exit $$status

.PHONY: stress
stress: ## test with full sizes, and the concurrent packages ten times: before a release, and after changing one
	go test -tags=stress -count=1 -timeout=30m ./internal/suite/...
	go test -race -shuffle=on -count=10 -timeout=1h . ./internal/suite/... ./internal/transport ./pondtest

.PHONY: fuzz
fuzz: ## every fuzz target for fuzztime=30s
	@for module in . natsbroker redisbroker; do \
		cd $(CURDIR)/$$module && for package in $$(go list ./...); do \
			for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
				echo "$$package $$target"; \
				$(CURDIR)/tools/fuzz $(fuzztime) $$package $$target || exit 1; \
			done; \
		done || exit 1; \
	done

soaktime ?= 10m

.PHONY: soak
soak: ## run a mixed load for soaktime=10m: fails if memory, goroutines or descriptors grow
	cd internal/integration && go run ./soak -duration $(soaktime)

nodes ?= 100
users ?= 100000

.PHONY: simulation
simulation: ## messages in a cluster of nodes=100 and users=100000, in virtual time: many minutes, and 7 GB
	cd internal/integration && go test -count=1 -v -timeout=2h ./simulation -nodes=$(nodes) -users=$(users)

.PHONY: conformance
conformance: ## test official clients and Autobahn against a real server
	$(MAKE) -C conformance

.PHONY: js
js: ## pond.js: types, size, and all tests, in Chromium and against other servers, too
	$(MAKE) -C js

.PHONY: bench
bench: ## compare pond with other servers: half an hour, writes docs/benchmarks.md
	$(MAKE) -C bench

.PHONY: microbench
microbench: ## benchmarks of packages into artifacts/bench.txt; old=FILE compares with an earlier run
	@mkdir -p artifacts
	go test -run='^$$' -bench=. -benchmem -count=6 ./... | tee artifacts/bench.txt
	$(tool) benchstat $(old) artifacts/bench.txt

.PHONY: api
api: ## accept a change of the exported API; review the diff
	@$(MAKE) --no-print-directory print-api > testdata/api.txt

.PHONY: print-api
print-api:
	@go doc -all .
	@go doc -all ./pondtest
	@go doc -all ./brokertest
	@go doc -all ./brokertest/memorybroker
	@go doc -all ./pondclient
	@go doc -all ./js

.PHONY: demo
demo: ## serve a chat to open in two browser windows
	go run ./cmd/pond demo

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
