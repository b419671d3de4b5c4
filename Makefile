# make demo   the main job, in private network namespaces
# make test   every test, on the real kernel
# make attack   the attacks of docs/security.md, the floods at full size: minutes
# make soak   random policies and packets against the kernel, until interrupted, or SOAK=10m
# make fuzz   every parser on made-up input, for FUZZTIME each
# make measure   the figures of docs/client.md, and a thousand one-time knocks: an hour, or SESSIONS=10
# make bench   tirl beside its peers, into docs/benchmarks.md: a quarter of an hour, times FACTOR; ONLY=packets,latency
# make lint   go vet, staticcheck, gofmt, and the builds for other systems
# make dist   programs and packages for all systems, into dist/out
# make install   tirl into $(DESTDIR)$(PREFIX)/sbin, its manuals and completions into $(DESTDIR)$(PREFIX)/share

PREFIX = /usr/local
SHELL = /bin/sh
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

RUN = nft=nftables iptables=iptables ip=iproute2
CLIENTS = nc.openbsd=netcat-openbsd nc.traditional=netcat-traditional hping3=hping3 \
	knock=knockd ssh=openssh-client sshd=openssh-server ssh-keygen=openssh-client \
	conntrack=conntrack ping=iputils-ping ufw=ufw tcpdump=tcpdump tcpreplay=tcpreplay python3=python3
PEERS = fwknopd=fwknop-server fwknop=fwknop-client
PACKAGING = lintian=lintian rpm=rpm mandoc=mandoc zsh=zsh fish=fish
VERSION = $(shell git describe --always --dirty 2>/dev/null || echo unknown)
BUILD = CGO_ENABLED=0 go build -trimpath -ldflags "-X tirl/internal/cli.version=$(VERSION)"

.PHONY: all demo test attack soak fuzz measure bench lint dist install
all: bin/tirl

.PHONY: bin/tirl
bin/tirl:
	$(BUILD) -o $@ ./cmd/tirl

demo: bin/tirl
	@scripts/need $(RUN)
	@bin/tirl demo

test:
	@scripts/need $(RUN) $(CLIENTS) $(PACKAGING)
	@scripts/test

attack:
	@scripts/need $(RUN) $(CLIENTS)
	@go test -c -o bin/attack.test ./attack
	@cd attack && TIRL_REQUIRE_KERNEL=1 TIRL_ATTACK_FULL=1 ../bin/attack.test -test.v -test.timeout 0

# SEED=N begins with the policy and trace of that number, VECTORS=DIR is where
# what fails is saved.
SOAK = 8760h
soak:
	@scripts/need $(RUN)
	@go test -c -o bin/soak.test ./spec
	@cd spec && ../bin/soak.test -test.run '^TestSoak$$' -test.timeout 0 -soak $(SOAK) $(if $(SEED),-seed $(SEED)) $(if $(VECTORS),-vectors $(abspath $(VECTORS)))

FUZZTIME = 10s
fuzz:
	@scripts/fuzz $(FUZZTIME)

SESSIONS = 100
measure:
	@scripts/need $(RUN) $(CLIENTS)
	@go test -c -o bin/scenario.test ./spec/scenario
	@cd spec/scenario && TIRL_REQUIRE_KERNEL=1 TIRL_MEASURE=$(SESSIONS) ../../bin/scenario.test -test.run '^(TestMeasure|TestOneTime)$$' -test.v -test.timeout 0

# As root: BPF puts the packets into the kernel.
FACTOR = 1
bench:
	@scripts/need $(RUN) $(CLIENTS) $(PEERS)
	@go build -trimpath -o bin/bench ./bench/cmd/bench
	@bin/bench -factor $(FACTOR) -only "$(ONLY)"

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l . >&2; echo "lint: gofmt would change these" >&2; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	@for os in linux/arm64 darwin/arm64 windows/amd64 freebsd/amd64; do \
		echo "build for $$os"; \
		GOOS=$${os%/*} GOARCH=$${os#*/} CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /dev/null ./cmd/tirl || exit 1; \
	done

dist:
	@scripts/dist dist/out

install: bin/tirl
	install -D -m 755 bin/tirl $(DESTDIR)$(PREFIX)/sbin/tirl
	for page in man/*; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page#man/} || exit 1; \
	done
	for file in bash:bash-completion/completions/tirl zsh:zsh/site-functions/_tirl fish:fish/vendor_completions.d/tirl.fish; do \
		install -D -m 644 /dev/null $(DESTDIR)$(PREFIX)/share/$${file#*:} && \
		bin/tirl completion $${file%%:*} >$(DESTDIR)$(PREFIX)/share/$${file#*:} || exit 1; \
	done
