package install_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/boot"
	"tirl/internal/install"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// machine is one with what these tests look at.
type machine struct {
	*labtest.Machine
	t *testing.T
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return &machine{labtest.NewMachine(t, "nftables.service"), t}
}

// holds checks what the about chain says; "" means that there are no rules.
func (m *machine) holds(want string) {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), "", "nft", "list", "chain", "inet", "tirl", "about")
	if want == "" && err == nil || want != "" && !strings.Contains(out, `"`+want+" ") {
		m.t.Errorf("want %q, the kernel holds: %s", want, out)
	}
}

// save is a confirmed load, as far as the next boot is concerned.
func (m *machine) save(with func(tool.Runner) backend.Backend) {
	m.t.Helper()
	p, found := policy.Parse("policy.toml", []byte("[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/27719\", \"udp/8816\", \"udp/15302\"]\n"))
	if p == nil {
		m.t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		m.t.Fatal(err)
	}
	rules, err := with(nil).Render(g)
	if err == nil {
		err = boot.Save(m.t.Context(), boot.Input{Root: m.Root, Program: g, Rules: rules})
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func newNft(r tool.Runner) backend.Backend      { return nftables.New(r) }
func newIptables(r tool.Runner) backend.Backend { return iptables.New(r) }

func (m *machine) install(h *install.Host, o install.Options) {
	m.t.Helper()
	if _, err := h.Install(m.t.Context(), o); err != nil && !errors.Is(err, install.ErrNoSystemd) {
		m.t.Fatal(err)
	}
}

// A boot beside Debian's nftables.service, whose every start, stop and reload
// flushes all rules of the host.
func TestSystemdBoot(t *testing.T) {
	m := newMachine(t)
	m.save(newNft)
	m.install(&install.Host{Root: m.Root}, install.Options{})
	m.Boot()
	m.Is("nftables.service", "active")
	m.Is("tirl.service", "active")
	m.holds("policy")
	number := func(unit, property string) int {
		n, err := strconv.Atoi(m.State(unit, property))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	loaded := number("tirl.service", "ActiveEnterTimestampMonotonic")
	if flushed := number("nftables.service", "ActiveEnterTimestampMonotonic"); flushed > loaded {
		t.Errorf("nftables.service came after tirl.service: %d, %d", flushed, loaded)
	}
	if network := number("network-pre.target", "ActiveEnterTimestampMonotonic"); loaded > network {
		t.Errorf("the network came before tirl.service: %d, %d", network, loaded)
	}

	for _, verb := range []string{"reload", "restart", "stop", "start", "restart", "stop", "restart"} {
		for _, unit := range []string{"nftables", "tirl"} {
			if verb == "stop" && unit == "tirl" {
				continue
			}
			m.Do("systemctl", verb, unit)
			m.settle("tirl.service")
			m.Is("tirl.service", "active")
			m.holds("policy")
			if t.Failed() {
				t.Fatalf("after %s %s", verb, unit)
			}
		}
	}
	m.Do("nft", "flush", "ruleset")
	m.holds("")
	m.Do("systemctl", "start", "tirl-heal.service")
	m.holds("policy")
	// Stopping takes no rules out.
	m.Do("systemctl", "stop", "tirl")
	m.holds("policy")
}

// The last resort outlives a flush as the policy does.
func TestSystemdLastResort(t *testing.T) {
	m := newMachine(t)
	m.save(newNft)
	if err := os.WriteFile(m.Root+"/var/lib/tirl/boot/current/rules.nft", []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.install(&install.Host{Root: m.Root}, install.Options{})
	m.Boot()
	m.Is("tirl.service", "active")
	m.holds("closed:")
	m.Do("systemctl", "reload-or-restart", "nftables")
	m.settle("tirl.service")
	m.holds("closed:")
}

// The sandbox of the service lets iptables work too.
func TestSystemdIptables(t *testing.T) {
	m := newMachine(t)
	m.save(newIptables)
	m.install(&install.Host{Root: m.Root}, install.Options{})
	m.Boot()
	m.Is("tirl.service", "active")
	for _, verb := range []string{"reload", "restart", "stop", "start"} {
		m.Do("systemctl", verb, "nftables")
		m.settle("tirl.service")
		for _, save := range []string{"iptables-save", "ip6tables-save"} {
			if n := strings.Count(m.Do(save), "-j TIRL\n"); n != 1 {
				t.Errorf("%s after %s: %d jumps", save, verb, n)
			}
		}
	}
}

// On a running host systemctl enables, starts and disables.
func TestSystemdInstall(t *testing.T) {
	m := newMachine(t)
	m.save(newNft)
	m.Boot()
	m.holds("")
	h := &install.Host{Root: m.Root, Run: m, Booted: true}
	yes, no := true, false
	m.install(h, install.Options{Heal: &yes})
	for _, unit := range []string{install.Service, install.Timer} {
		if got := m.Do("systemctl", "is-enabled", unit); got != "enabled" {
			t.Errorf("%s is %s", unit, got)
		}
	}
	m.Is(install.Timer, "active")
	m.Is(install.Service, "active")
	m.holds("policy")
	m.install(h, install.Options{Heal: &no})
	m.Is(install.Timer, "inactive")
	did, err := h.Install(t.Context(), install.Options{})
	if err != nil || len(did) > 0 {
		t.Errorf("again: %v, %v", did, err)
	}
	m.install(h, install.Options{Heal: &yes})
	if _, err := h.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.holds("policy")
	if out := m.Do("find", "/etc/systemd", "/run/systemd/system", "-name", "*tirl*", "-o", "-path", "*tirl*"); out != "" {
		t.Errorf("left: %s", out)
	}
	if did, err := h.Uninstall(t.Context()); err != nil || len(did) > 0 {
		t.Errorf("again: %v, %v", did, err)
	}
}

// settle waits for jobs that another unit's job has started.
func (m *machine) settle(unit string) {
	m.t.Helper()
	for range 100 {
		if m.State(unit, "Job") == "" && m.State(unit, "SubState") != "start" && m.State(unit, "SubState") != "reload" {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.t.Errorf("%s does not settle", unit)
}
