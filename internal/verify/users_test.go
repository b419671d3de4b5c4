package verify_test

import (
	"testing"

	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend/nftables"
	"tirl/internal/verify"
	"tirl/internal/verify/nft"
)

const (
	tokenPolicy = `[door.ssh]
opens = ["tcp/22"]
[door.ssh.users.alice]
one_time = "token"
`
	sequencePolicy = `[door.ssh]
opens = ["tcp/22"]
[door.ssh.users.bob]
one_time = "sequence"
first    = "udp/40213"
`
	usersPolicy = `mode   = "firewall"
public = ["tcp/80"]
trust  = ["198.51.100.7", "iface:wg0"]
refuse = "reset"
[knocking]
match_ttl   = true
ipv6_prefix = 64
[door.ssh]
opens = ["tcp/22"]
users.alice = { one_time = "token" }
users.al    = { one_time = "token" }
users.bob   = { one_time = "sequence", first = "udp/40213" }
users.carol = { one_time = "sequence", first = "tcp/40214", length = 5 }
[door.desk]
opens    = ["tcp/3389"]
knocks   = ["udp/7719", "udp/28816", "udp/15302"]
open_for = "once"
from     = ["203.0.113.0/24", "2001:db8:1::/48"]
users.dave = { one_time = "token" }
users.erin = { one_time = "sequence", first = "udp/40215" }
[door.desk2]
opens    = ["tcp/3389", "udp/500"]
open_for = "once"
users.frank = { one_time = "token" }
`
)

func TestUsersAreProved(t *testing.T) {
	for name, source := range map[string]string{"token": tokenPolicy, "sequence": sequencePolicy, "all": usersPolicy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := automatontest.Compile(t, source)
			rendered, err := nftables.New(nil).Render(g)
			if err != nil {
				t.Fatal(err)
			}
			rs, err := nft.Parse(rendered[0].Text)
			if err != nil {
				t.Fatal(err)
			}
			r := verify.Verify(g, rs, verify.Options{})
			if !r.Proved {
				t.Errorf("%v", r.Err())
				for _, d := range r.Differences {
					t.Errorf("%v: want %+v, got %+v", d.Packets, d.Want, d.Got)
				}
			}
			t.Logf("%d states", r.States)
		})
	}
}

// TestPoolsAreData proves rules whose pool holds values, which are not looked at, and
// some that are spent.
func TestPoolsAreData(t *testing.T) {
	g := automatontest.Compile(t, usersPolicy)
	rendered, err := nftables.New(nil).Render(g)
	if err != nil {
		t.Fatal(err)
	}
	text := rendered[0].Text + `add element inet tirl token { 0x5d61cfa7b1f52ee5c2bbfcc4dd0f3a01, 0x1 }
add element inet tirl holder { 0x5d61cfa7b1f52ee5c2bbfcc4dd0f3a01 : 5234:5678, 0x1 : 5234:5678 }
add element inet tirl path { 5234:5678 . udp . 4000 : 6000:0012 }
add element inet tirl last { 6000:0012 . udp . 22 }
add element inet tirl ends { 6000:0012 : 5234:5678 }
add element inet tirl spent_path { 6000:0012 limit rate 1/hour burst 1 packets }
add element inet tirl used_token4 { 192.0.2.7 . 0x1 }
`
	rs, err := nft.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify.Verify(g, rs, verify.Options{}); !r.Proved {
		t.Error(r.Err())
	}
}

// TestRandomUsersAreProved proves random policies that have users.
func TestRandomUsersAreProved(t *testing.T) {
	tried := 0
	for seed := range 60 {
		g, err := automatontest.Seeded(seed, automatontest.Options{Users: true}).Program()
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Users) == 0 {
			continue
		}
		tried++
		rendered, err := nftables.New(nil).Render(g)
		if err != nil {
			t.Fatal(err)
		}
		rs, err := nft.Parse(rendered[0].Text)
		if err != nil {
			t.Fatal(err)
		}
		if r := verify.Verify(g, rs, verify.Options{}); !r.Proved {
			t.Errorf("seed %d: %v", seed, r.Err())
		}
	}
	if tried < 20 {
		t.Errorf("%d policies only have users", tried)
	}
}
