package apply

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/verify"
)

// Errors of a prover.
func refuted() error {
	return &verify.NotProvedError{Result: verify.Result{Differences: []verify.Difference{{}}}}
}

func unknown() error {
	return &verify.NotProvedError{Result: verify.Result{Unproved: errors.New("line 7: match `hashlimit`")}}
}

// prover answers what is asked of one policy, and keeps what it was asked.
type prover struct {
	about            string // a policy's hash
	rendered, listed error
	asked            []string // texts of rules
}

func (p *prover) prove(g *automaton.Program, name string, rules backend.Ruleset, listed bool) error {
	p.asked = append(p.asked, rules[0].Text)
	switch {
	case g.PolicyHash != p.about:
		return nil
	case listed:
		return p.listed
	}
	return p.rendered
}

// proved gives a bench that holds a policy, with sources, and saves for the boot; and the
// policy that a prover has something to say of.
func proved(t *testing.T, p *prover) (*bench, *bootStub, Input) {
	b, boots := newBench(t).watched(t), &bootStub{}
	b.Boots, b.Prove = boots, p.prove
	b.apply(t, input(t, 999).with("nftables"))
	b.host.sources["nftables"] = "10.9.0.2 has knocked once, 10.9.0.3 is let in"
	b.host.loads, p.asked = nil, nil
	in := input(t, 1000)
	p.about = in.Program.PolicyHash
	return b, boots, in
}

// waits are loads with and without a confirmation.
func waits() map[string]time.Duration {
	return map[string]time.Duration{"kept": 0, "to be confirmed": time.Minute}
}

// stillOld fails the test if a bench does not hold the first policy as it was.
func stillOld(t *testing.T, b *bench, boots *bootStub, was snapshot) {
	t.Helper()
	b.unchanged(t, was)
	if got := b.host.sources["nftables"]; got != "10.9.0.2 has knocked once, 10.9.0.3 is let in" {
		t.Errorf("places and grants: %q", got)
	}
	if want := input(t, 999).Program.PolicyHash; boots.inForce != want || b.host.holds["nftables"] != want {
		t.Errorf("the next boot loads %q, the kernel holds %q, want %q", boots.inForce, b.host.holds["nftables"], want)
	}
	if !b.over() {
		t.Error("something waits to be confirmed")
	}
}

// Rules that are refuted, or not understood, before they are loaded are not loaded.
func TestRefusedBeforeLoad(t *testing.T) {
	for what, err := range map[string]error{"refuted": refuted(), "not understood": unknown()} {
		for name, wait := range waits() {
			for _, kind := range []string{"nftables", "iptables"} {
				t.Run(what+"/"+name+"/"+kind, func(t *testing.T) {
					p := &prover{rendered: err}
					b, boots, in := proved(t, p)
					was := b.snapshot(t)
					_, got := b.Apply(t.Context(), in.waiting(wait).with(kind))
					if _, ok := errors.AsType[*verify.NotProvedError](got); !ok {
						t.Errorf("got %v", got)
					}
					if _, back := errors.AsType[*RolledBackError](got); back || len(b.host.loads) > 0 {
						t.Errorf("something was loaded: %v", b.host.loads)
					}
					if len(p.asked) != 1 || !strings.HasPrefix(p.asked[0], kind) {
						t.Errorf("asked: %q", p.asked)
					}
					stillOld(t, b, boots, was)
				})
			}
		}
	}
}

// A proof that takes long must not use up the time to confirm, nor the patience of the
// watchdog: it is over before the watchdog begins. Whoever interrupts it has nothing loaded.
func TestProofBeforeWatchdog(t *testing.T) {
	p := &prover{}
	b, boots, in := proved(t, p)
	launched, late := false, false
	launch := b.Launch
	b.Launch = func(ctx context.Context, id string) error {
		launched = true
		return launch(ctx, id)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	b.Prove = func(g *automaton.Program, name string, rules backend.Ruleset, listed bool) error {
		late = late || launched && !listed
		interrupt()
		return nil
	}
	was := b.snapshot(t)
	if _, err := b.Apply(ctx, in.waiting(time.Minute).with("nftables")); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if late {
		t.Error("the watchdog was waiting while the rules were proved")
	}
	stillOld(t, b, boots, was)
}

// What the kernel holds and does otherwise than the policy says is taken back.
func TestRefutedAfterLoad(t *testing.T) {
	for name, wait := range waits() {
		for _, kind := range []string{"nftables", "iptables"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				p := &prover{listed: refuted()}
				b, boots, in := proved(t, p)
				was := b.snapshot(t)
				_, err := b.Apply(t.Context(), in.waiting(wait).with(kind))
				back, ok := errors.AsType[*RolledBackError](err)
				if !ok || back.Warning != nil {
					t.Errorf("got %v", err)
				}
				if why, ok := errors.AsType[*RefutedError](err); !ok || why.Backend != kind {
					t.Errorf("got %v", err)
				}
				if !slices.Equal(b.host.loads, []string{kind}) || len(p.asked) != 2 || p.asked[1] != "listed "+in.Program.PolicyHash {
					t.Errorf("loads: %v, asked: %q", b.host.loads, p.asked)
				}
				stillOld(t, b, boots, was)
			})
		}
	}
}

// With nothing loaded before, nothing is loaded then.
func TestRefutedFirstLoad(t *testing.T) {
	for name, wait := range waits() {
		t.Run(name, func(t *testing.T) {
			in := input(t, 1000)
			p := &prover{about: in.Program.PolicyHash, listed: refuted()}
			b := newBench(t).watched(t)
			b.Prove = p.prove
			was := b.snapshot(t)
			_, err := b.Apply(t.Context(), in.waiting(wait))
			if _, ok := errors.AsType[*RolledBackError](err); !ok {
				t.Errorf("got %v", err)
			}
			b.unchanged(t, was)
		})
	}
}

// A listing that nobody understands does not undo rules that were proved.
func TestListingNotUnderstood(t *testing.T) {
	for name, wait := range waits() {
		t.Run(name, func(t *testing.T) {
			p := &prover{listed: unknown()}
			b, boots, in := proved(t, p)
			res := b.apply(t, in.waiting(wait))
			if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0].Error(), "match `hashlimit`") {
				t.Errorf("warnings: %v", res.Warnings)
			}
			if wait > 0 {
				if _, err := b.Confirm(t.Context(), nil, false); err != nil {
					t.Fatal(err)
				}
			}
			if boots.inForce != p.about || b.host.holds["nftables"] != p.about {
				t.Errorf("the next boot loads %q, the kernel holds %q, want %q", boots.inForce, b.host.holds["nftables"], p.about)
			}
		})
	}
}

// Without a prover nothing is asked; what is in force already is not proved again.
func TestNothingToProve(t *testing.T) {
	p := &prover{rendered: refuted(), listed: refuted()}
	b, _, in := proved(t, p)
	b.Prove = nil
	b.apply(t, in)
	b.Prove = p.prove
	if res := b.apply(t, in); !res.Already {
		t.Errorf("%+v", res)
	}
	if len(p.asked) > 0 {
		t.Errorf("asked: %q", p.asked)
	}
}
