package scenario

import (
	"strings"
	"testing"
)

// family gives the rules of one family, without a chain that nothing refers to
// any more.
func (s *safe) family(save string) string {
	s.t.Helper()
	var kept []string
	for line := range strings.Lines(volatile.ReplaceAllString(s.must(s.Server, "", "env", "PATH="+s.plain, save), "")) {
		if !strings.Contains(line, "TIRL_OLD") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// TestKilledWithoutAWatchdog kills `apply --no-confirm`, which nobody watches, at
// each program that it runs. What one transaction loads is whole, old or new: all
// of it with nftables, each family with iptables. Whatever is left, the next apply
// mends.
func TestKilledWithoutAWatchdog(t *testing.T) {
	eachSafe(t, func(t *testing.T, s *safe) {
		load := func(policy string) []string {
			return []string{"apply", "--no-confirm", "-c", policy, "--backend", s.variant.backend}
		}
		saves := []string{"iptables-save", "ip6tables-save"}
		states := make(map[string][]string) // old and new, by family
		note := func() {
			for _, save := range saves {
				states[save] = append(states[save], s.family(save))
			}
		}
		note()
		s.command(load("new.toml")...)
		note()
		whole := s.rules()
		s.command(load("old.toml")...)
		s.wrap()
		watched := s.path
		steps, out, err := s.wrapped(point{}, load("new.toml")...)
		if err != nil || steps < 3 {
			t.Fatalf("%d programs: %v\n%s", steps, err, out)
		}
		for at := 1; at <= steps; at++ {
			s.path = s.plain
			s.command(load("old.toml")...)
			s.path = watched
			p := point{at, []string{"before", "after", "instead"}[at%3]}
			if n, out, err := s.wrapped(p, load("new.toml")...); err == nil && n >= at {
				t.Errorf("%+v: it was not killed:\n%s", p, out)
			}
			if s.variant.multi == "" {
				if is := s.rules(); is != s.old && is != whole {
					t.Errorf("%+v: neither the old rules nor the newer ones:\n%s", p, is)
				}
			}
			for _, save := range saves {
				if is := s.family(save); is != states[save][0] && is != states[save][1] {
					t.Errorf("%+v, %s: neither the old rules nor the newer ones:\n%s", p, save, is)
				}
			}
			s.path = s.plain
			s.command(load("new.toml")...)
			if is := s.rules(); is != whole {
				t.Errorf("%+v: not mended by the next apply:\n%s", p, is)
			}
		}
	})
}
