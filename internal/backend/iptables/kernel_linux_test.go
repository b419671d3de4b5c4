package iptables

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
	"tirl/internal/tool"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// variants are the multi-call binaries that iptables-restore may be.
var variants = []struct{ name, binary string }{
	{"nft", "xtables-nft-multi"},
	{"legacy", "xtables-legacy-multi"},
}

// each runs a test with both variants of the tools.
func each(t *testing.T, test func(t *testing.T, h *host)) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			test(t, newHost(t, v.binary))
		})
	}
}

// host is a server in a namespace, with one variant of the tools.
type host struct {
	t        testing.TB
	pair     *lab.Pair
	backend  *Backend
	injector *lab.Injector
	observer *lab.Observer
	tag      uint32
	started  time.Time
	took     time.Duration // of the last sendAll
}

// variant runs the iptables tools of one variant by their links in a directory.
type variant struct {
	tool.Runner
	dir string
}

func (v variant) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if strings.Contains(name, "tables") {
		name = filepath.Join(v.dir, name)
	}
	return v.Runner.Run(ctx, stdin, name, args...)
}

func newHost(t testing.TB, binary string) *host {
	t.Helper()
	pair := labtest.Pair(t, lab.PairOptions{ClientAddrs: 2})
	path, err := exec.LookPath(binary)
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/sbin"} {
			if _, e := os.Stat(filepath.Join(dir, binary)); e == nil {
				path, err = filepath.Join(dir, binary), nil
			}
		}
	}
	if err != nil {
		if os.Getenv(labtest.RequireEnv) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	for _, fam := range families {
		for _, name := range []string{fam.restore, fam.save, strings.TrimSuffix(fam.save, "-save")} {
			if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := &host{t: t, pair: pair, backend: New(variant{pair.Server, dir}), started: time.Now()}
	if h.injector, err = lab.NewInjector(pair); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.injector.Close() })
	if h.observer, err = lab.NewObserver(t.Context(), pair); err != nil {
		t.Fatal(err)
	}
	return h
}

// run runs a program on the server.
func (h *host) run(name string, args ...string) string {
	h.t.Helper()
	out, err := h.backend.run.Run(h.t.Context(), "", name, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h *host) load(toml string) *automaton.Program {
	h.t.Helper()
	g := program(h.t, toml)
	if err := h.backend.Load(h.t.Context(), g); err != nil {
		h.t.Fatal(err)
	}
	return g
}

// send puts a packet on the wire and tells whether the server let it through.
func (h *host) send(p lab.Packet) bool {
	h.t.Helper()
	h.tag++
	p.Tag = h.tag << 8 // TCP segments of one flow count on from there
	if err := h.injector.Send(h.t.Context(), p); err != nil {
		h.t.Fatal(err)
	}
	passed, err := h.observer.Passed(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return passed[p.Tag]
}

// sendAll puts packets on the wire at once and tells which came through.
func (h *host) sendAll(packets []lab.Packet) []bool {
	h.t.Helper()
	for i := range packets {
		h.tag++
		packets[i].Tag = h.tag << 8
	}
	begin := time.Now()
	if err := h.injector.Send(h.t.Context(), packets...); err != nil {
		h.t.Fatal(err)
	}
	h.took = time.Since(begin)
	passed, err := h.observer.Passed(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	through := make([]bool, len(packets))
	for i, p := range packets {
		through[i] = passed[p.Tag]
	}
	return through
}

func (h *host) loaded() string {
	h.t.Helper()
	l, err := h.backend.Loaded(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	if l == nil {
		return "nothing"
	}
	var all []string
	for _, p := range l.Places {
		all = append(all, fmt.Sprintf("%s at %d", p.Source, p.State))
	}
	for _, g := range l.Grants {
		all = append(all, fmt.Sprintf("%s granted", g.Source))
	}
	return strings.Join(all, ", ")
}

// save lists all rules and chains of the server, without counters and without
// tables in which there is nothing.
func (h *host) save() string {
	h.t.Helper()
	var all strings.Builder
	for _, fam := range families {
		fmt.Fprintln(&all, fam.save)
		for section := range strings.SplitSeq(h.run(fam.save), "COMMIT\n") {
			section = regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]`).ReplaceAllString(section, "")
			if regexp.MustCompile(`(?m)^-A|^:\S+ (-|DROP)`).MatchString(section) {
				all.WriteString(section)
			}
		}
	}
	return all.String()
}

// Both families of the pair, as packets of one forged source.
func knocks(src int, v6 bool, ports ...port.Port) []lab.Packet {
	var all []lab.Packet
	for i, to := range ports {
		p := lab.Packet{Src: lab.Forged4(src), Dst: lab.Server4(), Proto: to.Proto, DstPort: to.Number, SrcPort: uint16(20000 + i)}
		if v6 {
			p.Src, p.Dst = lab.Forged6(src), lab.Server6()
		}
		if to.Proto == port.TCP {
			p.Flags = automaton.SYN
		}
		all = append(all, p)
	}
	return all
}

func udp(n uint16) port.Port { return port.Port{Proto: port.UDP, Number: n} }
func tcp(n uint16) port.Port { return port.Port{Proto: port.TCP, Number: n} }

// The kernel takes every golden file as it is, and lists what Render made.
func TestGoldenLoads(t *testing.T) {
	for name, a := range examples(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			each(t, func(t *testing.T, h *host) {
				for _, fam := range families {
					command := fam.command()
					if _, err := h.backend.run.Run(t.Context(), part(a, fam.file), command[0], command[1:]...); err != nil {
						t.Fatal(err)
					}
				}
				g := program(t, part(a, "policy.toml"))
				by, err := h.backend.Loaded(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if by.PolicyHash != g.PolicyHash {
					t.Errorf("hash %q, want %q", by.PolicyHash, g.PolicyHash)
				}
				want := 0
				for _, fam := range families {
					want += build(g, fam).count()
				}
				if by.Rules != want {
					t.Errorf("%d rules, want %d", by.Rules, want)
				}
				hand := h.save()
				h.load(part(a, "policy.toml"))
				if again := h.save(); again != hand {
					t.Errorf("Load made something else than the text:\n%s\n%s", hand, again)
				}
			})
		})
	}
}
