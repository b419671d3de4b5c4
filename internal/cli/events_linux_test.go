package cli

import (
	"net/netip"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/events"
	"tirl/internal/policy"
	"tirl/internal/pool"
	"tirl/internal/port"
)

func TestEventLine(t *testing.T) {
	p, found := policy.Parse("policy", []byte(`
[door.alice]
opens  = ["tcp/22"]
knocks = ["udp/1001", "udp/5002", "udp/1003"]
[door.bob]
opens  = ["tcp/20-25"]
knocks = ["udp/1001", "udp/5002", "udp/1004"]
from   = ["192.0.2.0/24"]
`))
	if found.HasErrors() {
		t.Fatal(found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	ssh := port.Port{Proto: port.TCP, Number: 22}
	at := time.Date(2026, 11, 23, 11, 0, 0, 0, time.FixedZone("CET", 3600))
	for _, c := range []struct {
		event      events.Event
		by         *spent
		text, json string
	}{
		{events.Event{Time: at, Kind: "opened", Source: netip.MustParseAddr("192.0.2.7"), To: ssh}, nil,
			"2026-11-23T10:00:00Z opened 192.0.2.7 tcp/22 (alice or bob)\n",
			`{"time":"2026-11-23T10:00:00Z","event":"opened","source":"192.0.2.7","service":"tcp/22","doors":["alice","bob"]}` + "\n"},
		{events.Event{Time: at, Kind: "opened", Source: netip.MustParseAddr("192.0.2.7")}, &spent{pool.Name{Door: "bob", User: "phone"}, 17},
			"2026-11-23T10:00:00Z opened 192.0.2.7 (bob, value 17 of phone)\n",
			`{"time":"2026-11-23T10:00:00Z","event":"opened","source":"192.0.2.7","doors":["bob"],"user":"phone","value":17}` + "\n"},
		{events.Event{Time: at, Kind: "accepted", Source: netip.MustParseAddr("2001:db8::7"), To: ssh}, nil,
			"2026-11-23T10:00:00Z accepted 2001:db8::7 tcp/22 (alice)\n",
			`{"time":"2026-11-23T10:00:00Z","event":"accepted","source":"2001:db8::7","service":"tcp/22","doors":["alice"]}` + "\n"},
		{events.Event{Time: at, Kind: "wrong", Source: netip.MustParseAddr("192.0.2.7"), To: port.Port{Proto: port.UDP}}, nil,
			"2026-11-23T10:00:00Z wrong 192.0.2.7\n",
			`{"time":"2026-11-23T10:00:00Z","event":"wrong","source":"192.0.2.7"}` + "\n"},
	} {
		if got := eventLine(c.event, g, c.by, false); got != c.text {
			t.Errorf("got %q, want %q", got, c.text)
		}
		if got := eventLine(c.event, g, c.by, true); got != c.json {
			t.Errorf("got %s, want %s", got, c.json)
		}
	}
}
