package iptables

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
	"tirl/internal/tool"
)

// What other people have in the tables that tirl uses.
var others = [][]string{
	{"-t", "filter", "-N", "DOCKER"},
	{"-t", "filter", "-A", "DOCKER", "-p", "tcp", "--dport", "25", "-m", "comment", "--comment", "not -j TIRL", "-j", "DROP"},
	{"-t", "filter", "-A", "INPUT", "-j", "DOCKER"},
	{"-t", "filter", "-A", "INPUT", "-m", "recent", "--set", "--name", "TIRED"},
	{"-t", "mangle", "-N", "TIRLESS"},
	{"-t", "mangle", "-A", "PREROUTING", "-p", "tcp", "--dport", "25", "-j", "TIRLESS"},
	{"-t", "mangle", "-A", "OUTPUT", "-j", "MARK", "--set-mark", "0x7"},
	{"-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "REDIRECT", "--to-ports", "80"},
	{"-t", "filter", "-P", "FORWARD", "DROP"},
}

func (h *host) addOthers() {
	for _, rule := range others {
		h.run("iptables", rule...)
		h.run("ip6tables", rule...)
	}
}

const guardPolicy = `
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/1001", "udp/1009", "udp/1005"]
`

func TestLoadAndRemove(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.addOthers()
		clean := h.save()
		for _, policy := range []string{reference(t), guardPolicy, "refuse = \"reset\"\nmode = \"firewall\"\n" + guardPolicy, guardPolicy} {
			h.load(policy)
			once := h.save()
			h.load(policy)
			if diff := cmp.Diff(once, h.save()); diff != "" {
				t.Errorf("loaded twice (-once +twice):\n%s", diff)
			}
			for _, line := range strings.Split(clean, "\n") {
				if !strings.Contains(once, line+"\n") {
					t.Errorf("%q is gone", line)
				}
			}
			for _, fam := range families {
				if n := strings.Count(h.run(fam.save), "-j "+main+"\n"); n != 1 {
					t.Errorf("%s: %d jumps", fam.save, n)
				}
			}
			fresh := newHost(t, "xtables-"+strings.Split(t.Name(), "/")[1]+"-multi")
			fresh.addOthers()
			fresh.load(policy)
			if diff := cmp.Diff(fresh.save(), once); diff != "" {
				t.Errorf("what was loaded before shows (-without +with):\n%s", diff)
			}
		}
		if err := h.backend.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(clean, h.save()); diff != "" {
			t.Errorf("removed (-before +after):\n%s", diff)
		}
		if l, err := h.backend.Loaded(t.Context()); l != nil || err != nil {
			t.Errorf("still loaded: %+v, %v", l, err)
		}
		if out := h.run("sh", "-c", "ls /proc/net/xt_recent /proc/net/ipt_hashlimit /proc/net/ip6t_hashlimit"); strings.Contains(out, "TIRL") {
			t.Errorf("lists remain: %s", out)
		}
		if err := h.backend.Remove(t.Context()); err != nil {
			t.Errorf("remove nothing: %v", err)
		}
	})
}

// The jump is put back once, where it was, whatever happened to it.
func TestJump(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load(guardPolicy)
		h.run("iptables", "-t", "mangle", "-I", "PREROUTING", "1", "-p", "tcp", "--dport", "99", "-j", "ACCEPT")
		h.load(guardPolicy)
		kernel, err := h.backend.kernel(t.Context(), families[0])
		if err != nil {
			t.Fatal(err)
		}
		if j := kernel.find("mangle").jumps; len(j) != 1 || j[0].at != 2 {
			t.Errorf("somebody else's first rule was overtaken: %+v", j)
		}
		h.run("iptables", "-t", "mangle", "-A", "PREROUTING", "-j", main)
		h.load(guardPolicy)
		if kernel, err = h.backend.kernel(t.Context(), families[0]); err != nil {
			t.Fatal(err)
		}
		if j := kernel.find("mangle").jumps; len(j) != 1 || j[0].at != 2 {
			t.Errorf("a second jump: %+v", j)
		}
		h.run("iptables", "-t", "mangle", "-F", "PREROUTING")
		h.load(guardPolicy)
		if kernel, err = h.backend.kernel(t.Context(), families[0]); err != nil {
			t.Fatal(err)
		}
		if j := kernel.find("mangle").jumps; len(j) != 1 || j[0].at != 1 {
			t.Errorf("no jump: %+v", j)
		}
	})
}

// A changed policy keeps the grants that it would give, and no places.
func TestReplace(t *testing.T) {
	both(t, func(t *testing.T, h *host, v6 bool) {
		first := h.load(guardPolicy)
		for _, src := range []int{1, 33} {
			h.sendAll(knocks(src, v6, udp(1001), udp(1009), udp(1005)))
		}
		h.sendAll(knocks(2, v6, udp(1001), udp(1009)))
		check := func(what, policy string, places, grants int) {
			t.Helper()
			g := h.load(policy)
			l, err := h.backend.Loaded(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(l.Places) != places || len(l.Grants) != grants || l.PolicyHash != g.PolicyHash {
				t.Errorf("%s: %+v", what, l)
			}
			if got := h.send(knocks(1, v6, tcp(22))[0]); got != (grants > 0) {
				t.Errorf("%s: open is %v", what, got)
			}
			if h.send(knocks(5, v6, tcp(22))[0]) {
				t.Errorf("%s: open to everybody", what)
			}
		}
		if l, _ := h.backend.Loaded(t.Context()); len(l.Places) != 1 || l.Places[0].State != first.Doors[0].End-1 || len(l.Grants) != 2 {
			t.Fatalf("%+v", l)
		}
		check("the same policy", guardPolicy, 0, 2)
		h.sendAll(knocks(2, v6, udp(1001), udp(1009)))
		check("other knocks", strings.Replace(guardPolicy, "1001", "1021", 1), 0, 2)
		check("firewall", "mode = \"firewall\"\n"+guardPolicy, 0, 2)
		check("fewer sources", guardPolicy+"from = [\"198.18.0.0/28\", \"2001:db8:a::/60\"]\n", 0, 1)
		check("all sources again", guardPolicy, 0, 1)
		check("another time", guardPolicy+"open_for = \"20s\"\n", 0, 0)
		check("the first time again", guardPolicy, 0, 0)
	})
}

// failing is a runner of which one call fails.
type failing struct {
	tool.Runner
	fail func(name string, args []string) bool
}

var errOnPurpose = errors.New("on purpose")

func (f failing) Run(ctx context.Context, stdin, name string, args ...string) (string, error) {
	if f.fail(name, args) {
		return "", errOnPurpose
	}
	return f.Runner.Run(ctx, stdin, name, args...)
}

// Whichever step of Load fails, the kernel holds what it held, places and grants too.
func TestLoadFails(t *testing.T) {
	is := func(name string, test bool) func(string, []string) bool {
		return func(n string, args []string) bool { return n == name && slices.Contains(args, "--test") == test }
	}
	for _, c := range []struct {
		name string
		fail func(string, []string) bool
	}{
		{"the first family cannot be read", is("iptables-save", false)},
		{"the second family cannot be read", is("ip6tables-save", false)},
		{"the first test", is("iptables-restore", true)},
		{"the second test", is("ip6tables-restore", true)},
		{"the first family", is("iptables-restore", false)},
		{"the second family", is("ip6tables-restore", false)},
		{"the grants", func(n string, _ []string) bool { return n == "sh" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, h *host) {
				h.addOthers()
				empty := h.save()
				works := h.backend.run
				// One call fails; putting things back works.
				once := func() *Backend {
					failed := false
					return New(failing{works, func(name string, args []string) bool {
						if failed || !c.fail(name, args) {
							return false
						}
						failed = true
						return true
					}})
				}
				if c.name != "the grants" {
					if err := once().Load(t.Context(), program(t, guardPolicy)); !errors.Is(err, errOnPurpose) {
						t.Fatal(err)
					}
					if diff := cmp.Diff(empty, h.save()); diff != "" {
						t.Errorf("from nothing (-before +after):\n%s", diff)
					}
				}
				h.load(guardPolicy)
				for _, v6 := range []bool{false, true} {
					h.sendAll(knocks(1, v6, udp(1001), udp(1009), udp(1005)))
					h.sendAll(knocks(2, v6, udp(1001), udp(1009)))
				}
				before, sources := h.save(), h.loaded()
				for _, next := range []string{
					"mode = \"firewall\"\n" + guardPolicy + "open_for = \"once\"",
					strings.Replace(guardPolicy, "1001", "1021", 1),
				} {
					if c.name == "the grants" && strings.Contains(next, "once") {
						continue // no grants of these classes
					}
					g := program(t, next)
					if err := once().Load(t.Context(), g); !errors.Is(err, errOnPurpose) {
						t.Fatal(err)
					}
					if diff := cmp.Diff(before, h.save()); diff != "" {
						t.Errorf("%s (-before +after):\n%s", next, diff)
					}
					if got := h.loaded(); got != sources {
						t.Errorf("%s: sources %q, before %q", next, got, sources)
					}
				}
			})
		})
	}
}

// The older lists are let go in the end, by the next Load if need be.
func TestOlderListsAreLetGo(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load(guardPolicy)
		h.load(guardPolicy + "open_for = \"1m\"")
		if strings.Contains(h.save(), old) {
			t.Error("the older lists are still held")
		}
		restores := 0
		b := New(failing{h.backend.run, func(name string, args []string) bool {
			if name == "ip6tables-restore" && !slices.Contains(args, "--test") {
				restores++
			}
			return restores > 1
		}})
		g := program(t, guardPolicy+"open_for = \"2m\"")
		if err := b.Load(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if restores != 2 || !strings.Contains(h.save(), old) {
			t.Error("nothing failed")
		}
		h.load(guardPolicy + "open_for = \"2m\"")
		if strings.Contains(h.save(), old) {
			t.Error("the older lists are still held after the next Load")
		}
	})
}

// A context that ends does not leave half of a policy.
func TestLoadInterrupted(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load(guardPolicy)
		before := h.save()
		ctx, cancel := context.WithCancel(t.Context())
		b := New(failing{h.backend.run, func(name string, args []string) bool {
			if name == "ip6tables-restore" && !slices.Contains(args, "--test") {
				cancel()
			}
			return false
		}})
		err := b.Load(ctx, program(t, reference(t)))
		if err == nil {
			t.Fatal("no error")
		}
		if diff := cmp.Diff(before, h.save()); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
	})
}

func TestLoadedKnowsTime(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load(reference(t))
		h.sendAll(knocks(1, false, udp(12345)))
		h.sendAll(knocks(1, true, udp(12345), udp(23456)))
		l, err := h.backend.Loaded(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Places) != 2 {
			t.Fatalf("%+v", l)
		}
		for i, p := range l.Places {
			if p.State != automaton.State(i+1) || p.TTL != 0 {
				t.Errorf("%+v", p)
			}
			if age := 86400 - p.Left.Seconds(); p.Left != -1 && (age < 0 || age > 5) {
				t.Errorf("%+v: %.1f s old", p, age)
			}
		}
	})
}
