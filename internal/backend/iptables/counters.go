package iptables

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// Counters implements backend.Operator. The counters are those of rules, which
// the kernel makes anew with each load.
func (b *Backend) Counters(ctx context.Context, g *automaton.Program) (*backend.Counters, error) {
	if !(&builder{g: g}).tells() {
		return nil, nil
	}
	sum := &backend.Counters{Doors: make([]uint64, len(g.Doors))}
	found := false
	for _, fam := range families {
		text, err := b.run.Run(ctx, "", fam.save, "-c")
		if err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		counts := parseCounts(text)
		found = found || len(counts) > 0
		at := func(chain string, rule int) uint64 {
			if all := counts[chain]; rule < len(all) {
				return all[rule].packets
			}
			return 0
		}
		w := newBuilder(g, fam)
		w.all()
		sum.Opened += at(opened, 0)
		sum.Accepted += at(accepted, 0)
		sum.Limited += at(limited, 0)
		for _, o := range w.opens {
			sum.Doors[o.door] += at(o.chain, o.rule)
		}
		for _, rules := range counts {
			for _, r := range rules {
				if strings.Contains(r.text, "--set --name "+w.owedList(backend.EventWrong)+" ") {
					sum.Wrong += r.packets
				}
			}
		}
	}
	if !found {
		return nil, fmt.Errorf("read counters: %w", backend.ErrNotLoaded)
	}
	return sum, nil
}

// counted is a rule and how many packets it has matched.
type counted struct {
	text    string
	packets uint64
}

// parseCounts reads the packet counters of the rules of tirl's chains out of what
// iptables-save -c prints: "[packets:bytes] -A CHAIN RULE".
func parseCounts(text string) map[string][]counted {
	counts := make(map[string][]counted)
	for line := range strings.Lines(text) {
		w := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if len(w) < 4 || w[1] != "-A" || !ours(w[2]) {
			continue
		}
		n, _, ok := strings.Cut(strings.TrimPrefix(w[0], "["), ":")
		if packets, err := strconv.ParseUint(n, 10, 64); ok && err == nil {
			counts[w[2]] = append(counts[w[2]], counted{w[3], packets})
		}
	}
	return counts
}
