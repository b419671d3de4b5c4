package boot_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tirl/internal/boot"
	"tirl/internal/lab"
	"tirl/internal/policy"
)

// shells are those that a host's /bin/sh may be: Debian's is dash.
func shells(t *testing.T) map[string][]string {
	all := map[string][]string{"sh": {"sh"}}
	for name, command := range map[string][]string{"busybox": {"busybox", "sh"}} {
		if _, err := exec.LookPath(command[0]); err != nil {
			t.Logf("%s is not installed", command[0])
			continue
		}
		all[name] = command
	}
	return all
}

func held(t *testing.T, text, name string, failure policy.OnFailure) func(string) boot.Input {
	return func(root string) boot.Input {
		in := input(t, root, text, name)
		in.OnFailure = failure
		return in
	}
}

func TestLoadGood(t *testing.T) {
	for shell, command := range shells(t) {
		for _, name := range []string{policy.BackendNftables, policy.BackendIptables} {
			t.Run(name+"/"+shell, func(t *testing.T) {
				t.Parallel()
				h := newHost(t, held(t, guard, name, ""))
				h.shell = command
				c := h.session(false)
				h.load(0)
				h.guarded()
				h.lives(c)
				h.reaches(0, 8080, true)
			})
		}
	}
}

// The script needs neither tirl nor the policy: there are none under its root.
func TestLoadNeedsNoTirl(t *testing.T) {
	t.Parallel()
	h := newHost(t, held(t, guard, policy.BackendNftables, ""))
	h.without(nil, "tirl")
	if left, _ := filepath.Glob(h.root + "/*"); len(left) != 1 || left[0] != h.root+"/var" {
		t.Fatalf("the root holds %v", left)
	}
	h.load(0)
	h.guarded()
}

// Loading again changes nothing.
func TestLoadTwice(t *testing.T) {
	legacy := map[string]string{
		"iptables": "/usr/sbin/iptables-legacy", "iptables-save": "/usr/sbin/iptables-legacy-save", "iptables-restore": "/usr/sbin/iptables-legacy-restore",
		"ip6tables": "/usr/sbin/ip6tables-legacy", "ip6tables-save": "/usr/sbin/ip6tables-legacy-save", "ip6tables-restore": "/usr/sbin/ip6tables-legacy-restore",
	}
	for _, c := range []struct {
		name, backend string
		links         map[string]string
	}{{"nftables", policy.BackendNftables, nil}, {"iptables", policy.BackendIptables, nil}, {"iptables-legacy", policy.BackendIptables, legacy}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, held(t, guard, c.backend, ""))
			list := h.rules
			if c.links != nil {
				if _, err := os.Stat(c.links["iptables"]); err != nil {
					t.Skip("iptables-legacy is not installed")
				}
				h.without(c.links)
				list = func() string { return h.run("sh", "-c", "iptables-legacy-save; ip6tables-legacy-save") }
			}
			plain := func() string {
				var kept []string
				for line := range strings.Lines(list()) {
					// Counters and times differ.
					if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ":") {
						kept = append(kept, line)
					}
				}
				return strings.Join(kept, "")
			}
			h.load(0)
			once := plain()
			h.load(0)
			if twice := plain(); twice != once || !strings.Contains(once, "policy") {
				t.Errorf("once:\n%s\ntwice:\n%s", once, twice)
			}
			h.guarded()
		})
	}
}

func TestLoadFallback(t *testing.T) {
	for _, c := range []struct {
		name, backend string
		harm          func(h *host)
		said          string
	}{
		{"nftables, another byte", policy.BackendNftables, func(h *host) { h.spoil("rules.nft", "#", false) }, "rules.nft is not what was saved"},
		// A beginning of a ruleset is a ruleset, which opens all doors.
		{"nftables, cut off", policy.BackendNftables, func(h *host) { h.cut("rules.nft") }, "rules.nft is not what was saved"},
		{"nftables, missing", policy.BackendNftables, func(h *host) { os.Remove(filepath.Join(h.current, "rules.nft")) }, ""},
		{"nftables, the kernel lacks something", policy.BackendNftables, func(h *host) { h.spoil("rules.nft", "add rule inet tirl nowhere accept\n", true) }, "nft cannot load"},
		{"nftables, nft is missing", policy.BackendNftables, func(h *host) { h.without(nil, "nft") }, "nft is not installed"},
		{"iptables, another byte", policy.BackendIptables, func(h *host) { h.spoil("rules.iptables", "#", false) }, "rules.iptables is not what was saved"},
		{"iptables, IPv6 cannot be loaded", policy.BackendIptables, func(h *host) { h.spoil("rules.ip6tables", "*mangle\n-A NOWHERE -j DROP\nCOMMIT\n", true) }, "ip6tables-restore cannot load"},
		{"iptables, missing", policy.BackendIptables, func(h *host) { h.without(nil, "iptables-restore") }, "iptables-restore is not installed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, held(t, guard, c.backend, ""))
			c.harm(h)
			h.load(0)
			h.said(c.said)
			h.said("with the other backend")
			h.guarded()
			if c.backend == policy.BackendIptables && h.jumps() != "0" {
				t.Errorf("half of iptables' rules are left:\n%s", h.rules())
			}
		})
	}
}

// Nothing but what shuts can be loaded.
func TestLoadClose(t *testing.T) {
	broken := func(h *host) {
		for _, name := range []string{"rules.nft", "fallback.iptables", "fallback.ip6tables"} {
			h.spoil(name, "nonsense\n", false)
		}
	}
	for _, c := range []struct {
		name string
		harm func(h *host)
	}{
		{"nftables", broken},
		{"iptables", func(h *host) { broken(h); h.without(nil, "nft") }},
		{"minimal", func(h *host) {
			broken(h)
			for _, name := range []string{"close.nft", "close.iptables", "close.ip6tables"} {
				h.spoil(name, "nonsense\n", false)
			}
		}},
		{"minimal with iptables", func(h *host) {
			broken(h)
			h.spoil("close.iptables", "nonsense\n", false)
			h.without(nil, "nft")
		}},
		{"no checksums", func(h *host) { broken(h); os.Remove(filepath.Join(h.current, "SHA256SUMS")) }},
		{"no word on it", func(h *host) { broken(h); os.Remove(filepath.Join(h.current, "about")) }},
		{"its checksum is wrong", func(h *host) {
			broken(h)
			h.spoil("close.nft", h.read("close.nft")+"# x\n", false)
		}},
	} {
		for shell, command := range shells(t) {
			if shell != "sh" && c.name != "nftables" && c.name != "iptables" {
				continue
			}
			t.Run(c.name+"/"+shell, func(t *testing.T) {
				t.Parallel()
				h := newHost(t, held(t, guard, policy.BackendNftables, policy.CloseOnFailure))
				h.shell = command
				c.harm(h)
				old4, old6 := h.session(false), h.session(true)
				h.load(1)
				h.said("shut to everybody but trust")
				h.shut()
				h.reaches(0, 8080, true)
				h.lives(old4)
				h.lives(old6)
			})
		}
	}
}

// In firewall mode the last resort is a firewall too.
func TestLoadCloseFirewall(t *testing.T) {
	text := "mode = \"firewall\"\npublic = [\"tcp/8080\"]\n" + guard
	for _, missing := range []string{"no-such-program", "nft"} {
		t.Run("without "+missing, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, held(t, text, policy.BackendNftables, ""))
			for _, name := range []string{"rules.nft", "fallback.iptables"} {
				h.spoil(name, "nonsense\n", false)
			}
			h.serve(lab.Server4(), 9090)
			h.serve(lab.Server6(), 9090)
			h.without(nil, missing)
			c := h.session(true)
			h.load(1)
			h.shut()
			h.reaches(0, 8080, true)
			h.reaches(0, 9090, false)
			h.reaches(1, 9090, true)
			h.lives(c)
		})
	}
}

// Nothing can be loaded, and nothing is.
func TestLoadOpen(t *testing.T) {
	t.Parallel()
	h := newHost(t, held(t, guard, policy.BackendNftables, policy.OpenOnFailure))
	if shut, _ := filepath.Glob(h.current + "/close*"); len(shut) > 0 {
		t.Errorf("saved: %v", shut)
	}
	h.spoil("rules.nft", "nonsense\n", false)
	h.spoil("fallback.iptables", "nonsense\n", false)
	h.load(3)
	h.said("open, as [boot] on_failure says")
	h.reaches(0, 2222, true)
}

func TestLoadNoProgram(t *testing.T) {
	t.Parallel()
	h := newHost(t, held(t, guard, policy.BackendNftables, ""))
	h.without(nil, "nft", "iptables-restore", "ip6tables-restore")
	h.load(3)
	h.said("no rules can be loaded")
}

// Rules that are in force are better than none, or than the last resort.
func TestLoadKeepsWhatIsThere(t *testing.T) {
	for _, name := range []string{policy.BackendNftables, policy.BackendIptables} {
		for _, failure := range []policy.OnFailure{policy.CloseOnFailure, policy.OpenOnFailure} {
			t.Run(name+"/"+string(failure), func(t *testing.T) {
				t.Parallel()
				h := newHost(t, held(t, guard, name, failure))
				h.load(0)
				for _, ext := range []string{"nft", "iptables", "ip6tables"} {
					for _, stage := range []string{"rules.", "fallback."} {
						if _, err := os.Stat(filepath.Join(h.current, stage+ext)); err == nil {
							h.spoil(stage+ext, "nonsense\n", false)
						}
					}
				}
				h.load(1)
				h.said("what is in the kernel stays")
				h.guarded()
			})
		}
	}
}

func TestLoadNothingSaved(t *testing.T) {
	t.Parallel()
	h := newHost(t, nil)
	h.load(0)
	h.load(0, "--heal")
	h.reaches(0, 2222, true)
	if strings.Contains(h.run("nft", "list", "tables"), "tirl") {
		t.Error("something is loaded")
	}
	if err := os.MkdirAll(filepath.Dir(h.current), 0o700); err != nil {
		t.Fatal(err)
	}
	h.load(3)
	h.said("is missing")
	h.load(2, "--help-me")
	h.said("usage")
}

// Somebody's firewall has saved and restored an older policy's rules.
func TestLoadOverOlderRules(t *testing.T) {
	older := strings.ReplaceAll(guard, "8816", "8817")
	for _, c := range []struct{ was, mode, is string }{
		{policy.BackendIptables, "firewall", policy.BackendNftables},
		{policy.BackendNftables, "guard", policy.BackendIptables},
		{policy.BackendIptables, "guard", policy.BackendIptables},
		{policy.BackendIptables, "firewall", policy.BackendIptables},
		{policy.BackendNftables, "firewall", policy.BackendNftables},
	} {
		t.Run(c.was+" "+c.mode+" under "+c.is, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, held(t, guard, c.is, ""))
			for _, f := range input(t, "", "mode = \""+c.mode+"\"\n"+older, c.was).Rules {
				if _, err := h.Server.Run(t.Context(), f.Text, f.Load[0], f.Load[1:]...); err != nil {
					t.Fatal(err)
				}
			}
			h.load(0)
			h.guarded()
			h.reaches(0, 8080, true)
		})
	}
}

func TestHeal(t *testing.T) {
	for _, c := range []struct{ backend, flush string }{
		{policy.BackendNftables, "nft flush ruleset"},
		{policy.BackendNftables, "nft flush table inet tirl"},
		{policy.BackendIptables, "nft flush ruleset"},
		{policy.BackendIptables, "iptables -t mangle -F"},
		{policy.BackendIptables, "ip6tables -t mangle -F PREROUTING"},
		{policy.BackendIptables, "ip6tables -t mangle -F TIRL"},
	} {
		t.Run(c.backend+", "+c.flush, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, held(t, guard, c.backend, ""))
			h.load(0)
			h.knock()
			h.load(0, "--heal")
			h.reaches(0, 2222, true) // it has touched nothing: the grant is there
			h.run("sh", "-c", c.flush)
			h.load(0, "--heal")
			if c.backend == policy.BackendNftables {
				h.reaches(0, 2222, c.flush == "nft flush table inet tirl") // sets are not flushed with the rules
			}
			h.knock()
			h.reaches(0, 2222, true)
			if c.backend == policy.BackendIptables && h.jumps() != "2" {
				t.Errorf("%s jumps", h.jumps())
			}
		})
	}
}

// An apply takes the place of the last resort.
func TestLoadCloseIsReplaced(t *testing.T) {
	for _, missing := range []string{"no-such-program", "nft"} {
		for _, file := range []string{"nothing", "close"} {
			t.Run("without "+missing+" and "+file, func(t *testing.T) {
				t.Parallel()
				h := newHost(t, held(t, guard, policy.BackendNftables, ""))
				spoilt, err := filepath.Glob(h.current + "/*.*")
				if err != nil {
					t.Fatal(err)
				}
				for _, path := range spoilt {
					stage, _, _ := strings.Cut(filepath.Base(path), ".")
					if stage == "rules" || stage == "fallback" || stage == file {
						h.spoil(filepath.Base(path), "nonsense\n", false)
					}
				}
				h.without(nil, missing)
				h.load(1)
				h.shut()
				with := newNft
				if missing == "nft" {
					with = newIptables
				}
				if err := with(h.Server).Load(t.Context(), compile(t, guard)); err != nil {
					t.Fatal(err)
				}
				h.guarded()
				if err := with(h.Server).Remove(t.Context()); err != nil {
					t.Fatal(err)
				}
				h.reaches(0, 2222, true)
			})
		}
	}
}
