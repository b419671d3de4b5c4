package apply

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tirl/internal/tool"
)

func TestStatus(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, b *bench)
		check   func(s *Status) bool
	}{
		{"never loaded", func(*testing.T, *bench) {},
			func(s *Status) bool { return !s.Active() && s.Flushed == nil && s.Unread == nil }},
		{"loaded", func(t *testing.T, b *bench) { b.apply(t, input(t, 1000)) },
			func(s *Status) bool {
				return s.Backend == "nftables" && s.Record != nil && !s.Drifted && s.Flushed == nil && s.Others == nil
			}},
		{"flushed", func(t *testing.T, b *bench) { b.apply(t, input(t, 1000)); clear(b.host.holds) },
			func(s *Status) bool { return !s.Active() && s.Flushed != nil && !s.Rebooted && s.Record == nil }},
		{"booted", func(t *testing.T, b *bench) { b.apply(t, input(t, 1000)); clear(b.host.holds); b.Boot = "second" },
			func(s *Status) bool { return !s.Active() && s.Flushed != nil && s.Rebooted }},
		{"without a record", func(t *testing.T, b *bench) { b.host.holds["iptables"] = "?" },
			func(s *Status) bool {
				return s.Backend == "iptables" && s.Loaded.PolicyHash == "?" && s.Record == nil && !s.Drifted
			}},
		{"with the record of another policy", func(t *testing.T, b *bench) {
			b.apply(t, input(t, 1000))
			b.host.holds["nftables"] = "?"
		}, func(s *Status) bool { return s.Active() && s.Record == nil && s.Flushed == nil }},
		{"with the record of another backend", func(t *testing.T, b *bench) {
			b.apply(t, input(t, 1000))
			b.host.holds["iptables"] = b.host.holds["nftables"]
			delete(b.host.holds, "nftables")
		}, func(s *Status) bool { return s.Backend == "iptables" && s.Record == nil }},
		{"changed", func(t *testing.T, b *bench) { b.apply(t, input(t, 1000)); b.host.touched["nftables"] = true },
			func(s *Status) bool { return s.Active() && s.Drifted }},
		{"listed in other words", func(t *testing.T, b *bench) {
			b.apply(t, input(t, 1000))
			b.host.words, b.private.words = "nft 9: ", "nft 9: "
		}, func(s *Status) bool { return s.Active() && !s.Drifted }},
		{"listed in other words, and changed", func(t *testing.T, b *bench) {
			b.apply(t, input(t, 1000))
			b.host.words, b.private.words = "nft 9: ", "nft 9: "
			b.host.touched["nftables"] = true
		}, func(s *Status) bool { return s.Active() && s.Drifted }},
		{"listed in other words, with no namespace to look", func(t *testing.T, b *bench) {
			b.apply(t, input(t, 1000))
			b.host.words, b.private.fail["make"] = "nft 9: ", errScratch
		}, func(s *Status) bool { return s.Active() && s.Drifted }},
		{"both", func(t *testing.T, b *bench) {
			b.apply(t, input(t, 1000).with("iptables"))
			b.host.holds["nftables"] = "?"
		}, func(s *Status) bool {
			return s.Backend == "iptables" && s.Record != nil && len(s.Others) == 1 && s.Others[0] == "nftables"
		}},
		{"one not installed", func(t *testing.T, b *bench) { b.host.fail["read nftables"] = tool.ErrMissing },
			func(s *Status) bool { return !s.Active() && s.Unread == nil }},
		{"none installed", func(t *testing.T, b *bench) {
			b.host.fail["read nftables"], b.host.fail["read iptables"] = tool.ErrMissing, tool.ErrMissing
		}, func(s *Status) bool { return !s.Active() && s.Unread == nil }},
		{"one broken", func(t *testing.T, b *bench) { b.host.fail["read iptables"] = broken; b.apply(t, input(t, 1000)) },
			func(s *Status) bool { return s.Active() && len(s.Unread) == 1 }},
		{"one broken, the other empty", func(t *testing.T, b *bench) { b.host.fail["read iptables"] = broken },
			func(s *Status) bool { return !s.Active() && len(s.Unread) == 1 }},
		{"a record of a later tirl", func(t *testing.T, b *bench) {
			b.apply(t, input(t, 1000))
			if err := os.WriteFile(b.recordPath(), []byte(`{"format": 99}`), 0o600); err != nil {
				t.Fatal(err)
			}
		}, func(s *Status) bool { return s.Active() && s.Record == nil && len(s.Unread) == 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			c.prepare(t, b)
			if s := b.status(t); !c.check(s) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestStatusUnknown(t *testing.T) {
	b := newBench(t)
	b.host.fail["read nftables"], b.host.fail["read iptables"] = errors.New("broken"), tool.ErrMissing
	if s, err := b.Status(t.Context()); err == nil {
		t.Errorf("got %+v", s)
	}
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	b.apply(t, input(t, 1000))
	b.host.holds["iptables"] = "?"
	if err := os.WriteFile(filepath.Join(b.stateDir(), ".active.json.1.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	removed, err := b.Remove(t.Context())
	if err != nil || len(removed) != 2 || len(b.host.holds) > 0 {
		t.Errorf("removed %v, %v; the kernel holds %v", removed, err, b.host.holds)
	}
	for _, dir := range []string{b.stateDir(), b.runDir()} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}
	if removed, err := b.Remove(t.Context()); err != nil || len(removed) > 0 {
		t.Errorf("again: removed %v, %v", removed, err)
	}
}

// What can be removed is; the record stays until all is.
func TestRemoveFails(t *testing.T) {
	b := newBench(t)
	b.apply(t, input(t, 1000))
	b.host.holds["iptables"] = "?"
	b.host.fail["remove nftables"] = errors.New("busy")
	removed, err := b.Remove(t.Context())
	if err == nil || len(removed) != 1 || removed[0] != "iptables" {
		t.Errorf("removed %v, %v", removed, err)
	}
	if s := b.status(t); s.Record == nil {
		t.Errorf("then %+v", s)
	}
	delete(b.host.fail, "remove nftables")
	if _, err := b.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRemoveNotInstalled(t *testing.T) {
	b := newBench(t)
	b.apply(t, input(t, 1000))
	b.host.fail["read iptables"], b.host.fail["remove iptables"] = tool.ErrMissing, tool.ErrMissing
	if removed, err := b.Remove(t.Context()); err != nil || len(removed) != 1 {
		t.Errorf("removed %v, %v", removed, err)
	}
}
