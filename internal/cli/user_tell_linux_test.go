package cli

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tirl/internal/pool"
)

func TestSpender(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	here, there := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	use := func(number uint64, source netip.Addr, seen time.Duration) pool.Use {
		return pool.Use{Number: number, Sources: []netip.Addr{source}, Seen: at.Add(seen)}
	}
	s := &spender{told: make(map[spent]bool), read: func() []pool.Info {
		return []pool.Info{
			{Name: pool.Name{Door: "ssh", User: "alice"}, Uses: []pool.Use{use(3, here, -time.Hour), use(4, here, time.Minute), use(5, here, time.Minute)}},
			{Name: pool.Name{Door: "ssh", User: "bob"}, Uses: []pool.Use{use(9, there, 0)}},
		}
	}}
	for i, c := range []struct {
		source netip.Addr
		after  time.Duration
		want   string
	}{
		{here, 0, "alice 4"},
		{here, 2 * time.Second, "alice 5"},
		{here, 3 * time.Second, ""},
		{there, 30 * time.Second, "bob 9"}, // the connection that tells of it came after the refill
		{netip.MustParseAddr("192.0.2.8"), 0, ""},
	} {
		got := ""
		if by, ok := s.who(c.source, at.Add(c.after)); ok {
			got = fmt.Sprint(by.User, " ", by.value)
		}
		if got != c.want {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
	if _, ok := (*spender)(nil).who(here, at); ok {
		t.Error("a policy without users has one")
	}
}

func TestUserTroubles(t *testing.T) {
	info := func(user string, change func(*pool.Info)) pool.Info {
		i := pool.Info{Name: pool.Name{Door: "ssh", User: user}, Pool: 256, Live: 256, Block: 7}
		change(&i)
		return i
	}
	for _, c := range []struct {
		state, text, hint string
		change            func(*pool.Info)
	}{
		{"ready", "", "", func(*pool.Info) {}},
		{"low", "has 31 values left of 256", "sudo tirl user refill", func(i *pool.Info) { i.Live = 31 }},
		{"empty", "is shut out: the kernel holds no values", "sudo tirl user refill", func(i *pool.Info) { i.Live = 0 }},
		{"out of reach", "may be shut out", "--from-block 7 HOST ssh", func(i *pool.Info) { i.Lost, i.Losses = true, 3 }},
		{"at risk", "has not come in since the host lost its values (2 times)", "sudo tirl export alice", func(i *pool.Info) { i.AtRisk, i.Losses = true, 2 }},
		{"shut out", "there is no key", "sudo tirl user add alice --door ssh", func(i *pool.Info) { i.Problem = pool.ErrNoKey }},
		{"shut out", "the key was revoked", "sudo tirl user renew alice --door ssh", func(i *pool.Info) { i.Problem = pool.ErrRevoked }},
	} {
		i := info("alice", c.change)
		text, hint := userTrouble(i)
		if got := userState(i); got != c.state || !strings.Contains(text, c.text) || (text == "") != (c.text == "") || !strings.Contains(hint, c.hint) {
			t.Errorf("%s, want %s: %q, %q", got, c.state, text, hint)
		}
	}
	var many []pool.Info
	for range 50 {
		many = append(many, info("alice", func(i *pool.Info) { i.Live = 0 }))
	}
	if found := userTroubles(append(many, info("bob", func(i *pool.Info) { i.Live = 1 }))); len(found) != 2 || found[0].Text != "50 users are empty" {
		t.Errorf("%+v", found)
	}
}
