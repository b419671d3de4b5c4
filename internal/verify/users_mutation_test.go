package verify_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"tirl/internal/automaton/automatontest"
	"tirl/internal/backend/nftables"
	"tirl/internal/verify"
	"tirl/internal/verify/nft"
	"tirl/internal/verify/ruleset"
)

const mutantUsers = `
trust = ["198.51.100.7"]
[log]
events = "none"
[door.a]
opens = ["tcp/22"]
from  = ["203.0.113.0/24"]
users.alice = { one_time = "token" }
users.bob   = { one_time = "sequence", first = "udp/1001", length = 5 }
[door.b]
opens    = ["tcp/23", "udp/500"]
knocks   = ["udp/1020", "tcp/1006", "udp/1003"]
open_for = "once"
users.carol = { one_time = "token" }
`

// ofUsers are the rules that have to do with values.
var ofUsers = regexp.MustCompile(`@th,64,128|@spent_(token|path)|@last|@path|@holder|@ends|@user|used_|redeem|jump spend|no business of doors|as any other|while blocked it`)

// ofIPv6 says whether a change is in a chain for IPv6, whose rules are those for IPv4,
// which are tried.
func ofIPv6(text, name string) bool {
	var n int
	if _, err := fmt.Sscanf(name, "line %d:", &n); err != nil || strings.Contains(name, "ip6 saddr") || strings.Contains(name, "goto redeem6") {
		return true
	}
	before := strings.Join(strings.Split(text, "\n")[:n], "\n")
	chain, _, _ := strings.Cut(before[strings.LastIndex(before, "\n\tchain "):], " {")
	return strings.HasSuffix(chain, "6")
}

// usersReasons say why a change of such a rule changes nothing that is proved.
var usersReasons = []*regexp.Regexp{
	regexp.MustCompile(`@used_`), // it only says who it was
	// The two take no packet in common, or come to the same in either order.
	regexp.MustCompile(`: swapped with the next: (meta nfproto ipv4 goto redeem|meta priority \. .* @last|meta priority set .* (@path|@holder)|delete @)`),
	// What follows in the calling chain comes to the same.
	regexp.MustCompile(`: goto->jump: .*(@token goto token|goto judged|@path goto|@user goto|goto use|goto redeem4)`),
	regexp.MustCompile(`: dropped: accept comment "no business`),
	regexp.MustCompile(`: update->add: update @spent`), // as a test and set both come to the same
	regexp.MustCompile(`: timeout: `),
}

func provesUsers(t *testing.T, text string) (proved bool, why error) {
	t.Helper()
	g := automatontest.Compile(t, mutantUsers)
	rs, err := nft.Parse(text)
	if err != nil {
		return false, err
	}
	r := verify.Verify(g, rs, verify.Options{Scope: verify.Scope{Families: ruleset.IPv4}, MaxStates: 5000, One: true})
	return r.Proved, r.Err()
}

// TestMutantsOfUsers changes the rules of one-time knocks in one place at a time.
func TestMutantsOfUsers(t *testing.T) {
	t.Parallel()
	rendered, err := nftables.New(nil).Render(automatontest.Compile(t, mutantUsers))
	if err != nil {
		t.Fatal(err)
	}
	text := rendered[0].Text
	if ok, err := provesUsers(t, text); !ok {
		t.Fatal(err)
	}
	tried := 0
	try := func(name, text string) {
		tried++
		ok, _ := provesUsers(t, text)
		for _, r := range usersReasons {
			if r.MatchString(name) {
				return
			}
		}
		if ok {
			t.Errorf("still proved: %s", name)
		}
	}
	for _, m := range mutants(text) {
		if ofUsers.MatchString(m.name) && !ofIPv6(text, m.name) {
			try(m.name, m.text)
		}
	}
	for _, part := range []string{
		"udp length 24 ", "ct state != invalid ", "fib daddr type local @th", "meta l4proto udp udp length",
		" limit rate 1/hour burst 1 packets",
	} {
		if !strings.Contains(text, part) {
			t.Fatalf("no rule has %q", part)
		}
		kept := ""
		if strings.HasSuffix(part, "@th") {
			kept = "@th"
		} else if strings.HasSuffix(part, "udp length") {
			kept = "udp length"
		}
		if part == "meta l4proto udp udp length" {
			continue // the length implies the protocol
		}
		try("without "+part, strings.ReplaceAll(text, part, kept))
	}
	try("a larger burst", strings.ReplaceAll(text, "1/hour burst 1 packets", "1/hour burst 2 packets"))
	t.Logf("%d changes", tried)
}
