package nftables

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// TestRestoreAnyPolicyAfterAnyOther: what the kernel lists is what it listed.
func TestRestoreAnyPolicyAfterAnyOther(t *testing.T) {
	ctx := context.Background()
	n := server(t)
	b := New(n)
	nft(t, n, "table inet others { chain c { counter comment \"not ours\"; }; }")
	for _, first := range policies(t) {
		if err := b.Load(ctx, compile(t, first)); err != nil {
			t.Fatal(err)
		}
		was, err := b.Loaded(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, second := range append(policies(t), "") {
			t.Run(filepath.Base(first)+" "+filepath.Base(second), func(t *testing.T) {
				if second == "" {
					err = b.Remove(ctx)
				} else {
					err = b.Load(ctx, compile(t, second))
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Restore(ctx, s, time.Second); err != nil {
					t.Fatal(err)
				}
				is, err := b.Loaded(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(was, is); diff != "" {
					t.Errorf("restored (-before +after):\n%s", diff)
				}
			})
		}
	}
	if err := b.Restore(ctx, &backend.Snapshot{Backend: b.Name()}, 0); err != nil {
		t.Fatal(err)
	}
	if l, err := b.Loaded(ctx); l != nil || err != nil {
		t.Errorf("after nothing was restored: %+v, %v", l, err)
	}
	if !strings.Contains(ruleset(t, n), "not ours") {
		t.Error("the table of others is gone")
	}
}

// TestRestoreKeepsWhatLives: grants and places come back with the time that they
// would have; what was granted meanwhile stays where the class is known.
func TestRestoreKeepsWhatLives(t *testing.T) {
	ctx := context.Background()
	k, _ := kernel(t, twoDoors)
	b := k.Backend.(*Backend)
	send(t, k, "10.9.0.20", udp(2001), udp(6002), udp(2003))
	send(t, k, "2001:db8:9::20", udp(2001), udp(6002), udp(2003))
	send(t, k, "10.9.0.30", udp(1001), udp(5002))
	send(t, k, "10.9.0.31", udp(1001))
	before, err := b.Loaded(ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}

	// Door b goes, door a stays, and a third comes.
	other := twoDoors[:strings.Index(twoDoors, "[door.b]")] +
		"[door.c]\nopens = [\"tcp/2223\"]\nknocks = [\"udp/3001\", \"udp/6002\", \"udp/2003\"]\n"
	if err := b.Load(ctx, compileText(t, "other", other)); err != nil {
		t.Fatal(err)
	}
	send(t, k, "10.9.0.21", udp(1001), udp(5002), udp(1003))
	send(t, k, "10.9.0.21", udp(3001), udp(6002), udp(2003))
	if err := b.Restore(ctx, s, 3*time.Second); err != nil {
		t.Fatal(err)
	}
	after, err := b.Loaded(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if before.Text != after.Text {
		t.Errorf("the rules differ:\n%s", cmp.Diff(before.Text, after.Text))
	}
	if len(after.Places) != 2 || len(after.Grants) != 3 {
		t.Errorf("places %v, grants %v", after.Places, after.Grants)
	}
	for _, g := range after.Grants {
		limit := 17 * time.Second
		if g.Source.String() == "10.9.0.21" {
			limit = 20 * time.Second
		}
		if g.Left > limit || g.Left < limit-4*time.Second {
			t.Errorf("the grant of %s has %v left, want up to %v", g.Source, g.Left, limit)
		}
	}
	if got := last(send(t, k, "10.9.0.20", tcp(2222))); got != automaton.Accept {
		t.Errorf("the old grant: %v", got)
	}
	if got := last(send(t, k, "10.9.0.30", udp(1003), tcp(22))); got != automaton.Accept {
		t.Errorf("the old place: %v", got)
	}
	// Much later all of it is over.
	if err := b.Restore(ctx, s, time.Hour); err != nil {
		t.Fatal(err)
	}
	if after, err = b.Loaded(ctx); err != nil || len(after.Places) != 0 {
		t.Errorf("an hour later: %v, %v", after.Places, err)
	}
}

// TestRestoreKeepsTheSetOfGrants: the set of grants is never made anew.
func TestRestoreKeepsTheSetOfGrants(t *testing.T) {
	was, err := parseListing("table inet tirl {\n\tset grant4 {\n\t\ttypeof ip saddr . meta priority\n\t\tflags dynamic,timeout\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	if text := restore(was, was, 0); strings.Contains(text, "delete") {
		t.Errorf("it is deleted:\n%s", text)
	}
}

func TestAged(t *testing.T) {
	got := aged([]string{
		"10.0.0.1 timeout 30s expires 7s500ms",
		"10.0.0.2 timeout 30s expires 2s500ms : 0:1",
		"10.0.0.3 limit rate over 20/second burst 40 packets timeout 2s expires 9s",
		"10.0.0.4",
	}, 3*time.Second)
	if diff := cmp.Diff([]string{"10.0.0.1 timeout 30s expires 4s500ms"}, got); diff != "" {
		t.Error(diff)
	}
}
