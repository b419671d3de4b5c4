package apply

import (
	"errors"
	"testing"
)

func TestPlan(t *testing.T) {
	b := newBench(t)
	plan := func(in Input) *Plan {
		t.Helper()
		was := b.snapshot(t)
		loads := len(b.host.loads)
		p, err := b.Plan(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		b.unchanged(t, was)
		if len(b.host.loads) != loads {
			t.Error("a plan loads")
		}
		return p
	}
	first, second := input(t, 1000), input(t, 1001)
	if p := plan(first); p.Already || p.Before != nil || p.Backend != "nftables" || len(p.After) != 1 {
		t.Errorf("nothing loaded: %+v", p)
	}
	b.apply(t, first)
	if p := plan(first); !p.Already || p.Backend != "nftables" {
		t.Errorf("the same: %+v", p)
	}
	if p := plan(second.with("iptables")); p.Already || p.BeforeBackend != "nftables" || p.Backend != "iptables" ||
		p.Before[0].Text == p.After[0].Text || p.Listed != p.Kernel {
		t.Errorf("another: %+v", p)
	}
	b.host.touched["nftables"] = true
	if p := plan(first); p.Already || p.Listed == p.Kernel || p.Before[0].Text != p.After[0].Text {
		t.Errorf("changed by somebody: %+v", p)
	}
	b.host.holds["nftables"] = "?"
	if p := plan(first); len(p.Unknown) != 1 || p.Before != nil {
		t.Errorf("of unknown origin: %+v", p)
	}
}

func TestPlanFails(t *testing.T) {
	for _, asked := range []string{"auto", "nftables"} {
		b := newBench(t)
		b.private.fail["load nftables"], b.private.fail["load iptables"] = errors.New("broken"), errors.New("broken")
		_, err := b.Plan(t.Context(), input(t, 1000).with(asked))
		if _, ok := errors.AsType[*UnsupportedError](err); !ok {
			t.Errorf("%s: %v", asked, err)
		}
		b.private.fail["make"] = errScratch
		if _, err := b.Plan(t.Context(), input(t, 1000).with(asked)); err != nil {
			t.Errorf("%s, which cannot be tried: %v", asked, err)
		}
	}
}
