package lockout

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tirl/internal/automaton"
	"tirl/internal/automaton/automatontest"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/session"
)

func program(t *testing.T, text string) *automaton.Program {
	t.Helper()
	p, diags := policy.Parse("policy.toml", []byte(text))
	if p == nil {
		t.Fatalf("%v\n%s", diags, text)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

const (
	knocks   = `knocks = ["udp/12345", "udp/23456", "udp/34567"]` + "\n"
	door     = "[door.ssh]\nopens = [\"tcp/22\"]\n" + knocks
	from     = door + `from = ["203.0.113.0/24", "2001:db8:1::/48"]` + "\n"
	firewall = `mode = "firewall"` + "\n"
	alice    = "198.51.100.7:40000"
	carol    = "203.0.113.9:50000"
)

func conn(local, remote string) session.Conn {
	c := session.Conn{Proto: port.TCP, Local: netip.MustParseAddrPort(local)}
	if remote != "" {
		c.Remote = netip.MustParseAddrPort(remote)
	}
	return c
}

func by(local, remote string) *session.Session {
	return &session.Session{Conn: conn(local, remote), How: session.ByAncestry}
}

func mosh(remote string) *session.Session {
	c := session.Conn{Proto: port.UDP, Local: netip.MustParseAddrPort("192.0.2.1:60001")}
	if remote != "" {
		c.Remote = netip.AddrPortFrom(netip.MustParseAddr(remote), 0)
	}
	return &session.Session{Conn: c, How: session.ByMosh}
}

// wg says that 203.0.113.9 comes in by a VPN.
func wg(a netip.Addr) string {
	if a == netip.MustParseAddr("203.0.113.9") {
		return "wg0"
	}
	return "eth0"
}

var checks = []struct {
	name      string
	policy    string
	situation Situation
	kinds     []Kind
	text      []string // of the first finding, its hint included
}{
	{"no session", from, Situation{}, nil, nil},
	{"an open door", door, Situation{Session: by("192.0.2.1:22", alice)}, []Kind{NoWayBack},
		[]string{"nobody is trusted", "tcp/22", `trust = ["198.51.100.7"]`}},
	{"somebody else is trusted", `trust = ["10.0.0.0/8"]` + "\n" + door, Situation{Session: by("192.0.2.1:22", alice)}, nil, nil},
	{"trusted", `trust = ["198.51.100.0/24"]` + "\n" + from, Situation{Session: by("192.0.2.1:22", alice)}, nil, nil},
	{"by a trusted device", `trust = ["iface:wg0"]` + "\n" + door + `from = ["192.0.2.0/24"]`,
		Situation{Session: by("192.0.2.1:22", carol), Interface: wg}, nil, nil},
	{"by another device", `trust = ["iface:wg0"]` + "\n" + from,
		Situation{Session: by("192.0.2.1:22", alice), Interface: wg}, []Kind{BehindDoor}, []string{`trust = ["iface:wg0", "198.51.100.7"]`}},
	{"from excludes it", from, Situation{Session: by("192.0.2.1:22", alice)}, []Kind{BehindDoor},
		[]string{"by tcp/22 from 198.51.100.7", "door ssh opens to 203.0.113.0/24, 2001:db8:1::/48 only", `trust = ["198.51.100.7"]`}},
	{"from includes it", from, Situation{Session: by("192.0.2.1:22", carol)}, []Kind{NoWayBack}, nil},
	{"IPv6, from excludes it", from, Situation{Session: by("[2001:db8::1]:22", "[2001:db8:2::7]:1")}, []Kind{BehindDoor}, []string{`trust = ["2001:db8:2::7"]`}},
	{"IPv6, from includes it", from, Situation{Session: by("[2001:db8::1]:22", "[2001:db8:1::7]:1")}, []Kind{NoWayBack}, nil},
	{"another door opens it", from + "[door.all]\nopens = [\"tcp/20-30\"]\nknocks = [\"udp/1\", \"udp/9000\", \"udp/40\"]",
		Situation{Session: by("192.0.2.1:22", alice)}, []Kind{NoWayBack}, nil},
	{"two doors, neither for it", from + "[door.b]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1\", \"udp/9000\", \"udp/40\"]\nfrom = [\"192.0.2.9\"]",
		Situation{Session: by("192.0.2.1:22", alice)}, []Kind{BehindDoor}, []string{"none of the doors that open it (ssh, b)"}},
	{"guard leaves the port alone", from, Situation{Session: by("192.0.2.1:2222", alice)}, nil, nil},
	{"firewall closes the port", firewall + `public = ["tcp/80", "esp"]` + "\n" + door, Situation{Session: by("192.0.2.1:2222", alice)}, []Kind{Closed},
		[]string{"by tcp/2222 from 198.51.100.7", "firewall mode closes tcp/2222", `trust = ["198.51.100.7"] or public = ["tcp/80", "proto/50", "tcp/2222"]`}},
	{"firewall, public", firewall + `public = ["tcp/80", "tcp/2000-3000"]` + "\n" + door, Situation{Session: by("192.0.2.1:2222", alice)}, nil, nil},
	{"firewall, behind the door", firewall + door, Situation{Session: by("192.0.2.1:22", alice)}, []Kind{NoWayBack}, nil},
	{"firewall, behind a once door", firewall + strings.Replace(door, "opens", "open_for = \"once\"\nopens", 1),
		Situation{Session: by("192.0.2.1:22", alice)}, []Kind{NoWayBack}, nil},
	{"the loopback device", firewall + from, Situation{Session: by("127.0.0.1:2222", "127.0.0.1:40000")}, nil, nil},
	{"the host's own address", firewall + from, Situation{Session: by("192.0.2.1:22", "192.0.2.1:40000")}, nil, nil},
	{"mosh, closed", firewall + door, Situation{Session: mosh("198.51.100.7")}, []Kind{Closed}, []string{`public = ["udp/60001"]`, `trust = ["198.51.100.7"]`}},
	{"mosh, from where is not known", firewall + door, Situation{Session: mosh("")}, []Kind{Closed}, []string{"an address that is not known", `policy: public = ["udp/60001"]`}},
	{"mosh, guard", from, Situation{Session: mosh("")}, nil, nil},
	{"slow knocks", "[knocking]\nper_source = \"1/second\"\nstep_timeout = \"2s\"\n" + door, Situation{Session: by("192.0.2.1:22", alice)}, []Kind{NoWayBack}, nil},
	{"one of two that it may be", from, Situation{Session: &session.Session{Conn: conn("192.0.2.1:22", carol),
		Others: []session.Conn{conn("192.0.2.1:22", alice)}}}, []Kind{BehindDoor}, nil},

	{"two sessions of a private address", `trust = ["192.0.2.9"]` + "\n" + door, Situation{
		Session:  by("192.0.2.1:22", "10.0.0.5:1"),
		Sessions: []session.Conn{conn("192.0.2.1:22", "10.0.0.5:1"), conn("192.0.2.1:22", "10.0.0.5:2")},
	}, []Kind{Shared}, []string{"2 sessions to tcp/22 come from the private address 10.0.0.5", "everybody behind it"}},
	{"two sessions from a provider's address", `trust = ["192.0.2.9"]` + "\n" + door, Situation{
		Sessions: []session.Conn{conn("192.0.2.1:22", "100.64.3.5:1"), conn("192.0.2.1:22", "100.64.3.5:2")},
	}, []Kind{Shared}, nil},
	{"two sessions from a public address", `trust = ["192.0.2.9"]` + "\n" + door, Situation{
		Sessions: []session.Conn{conn("192.0.2.1:22", alice), conn("192.0.2.1:22", "198.51.100.7:2")},
	}, nil, nil},
	{"one session of each of two private addresses", `trust = ["192.0.2.9"]` + "\n" + door, Situation{
		Sessions: []session.Conn{conn("192.0.2.1:22", "10.0.0.5:1"), conn("192.0.2.1:22", "10.0.0.6:1")},
	}, nil, nil},
	{"private sessions that need no knock", `trust = ["10.0.0.0/24"]` + "\n" + door, Situation{
		Sessions: []session.Conn{conn("192.0.2.1:22", "10.0.0.5:1"), conn("192.0.2.1:22", "10.0.0.5:2"),
			conn("192.0.2.1:80", "10.1.0.5:1"), conn("192.0.2.1:80", "10.1.0.5:2")},
	}, nil, nil},
	{"the default gateway", `trust = ["192.0.2.9"]` + "\n" + door, Situation{
		Session:  by("192.0.2.1:22", "192.0.2.254:1"),
		Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.254")},
	}, []Kind{Gateway}, []string{"192.0.2.254, this host's default gateway"}},
	{"the default gateway, refused", from, Situation{
		Session:  by("192.0.2.1:22", "10.0.0.1:1"),
		Sessions: []session.Conn{conn("192.0.2.1:22", "10.0.0.1:1"), conn("192.0.2.1:22", "10.0.0.1:2")},
		Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	}, []Kind{BehindDoor, Gateway}, nil},
}

func TestCheck(t *testing.T) {
	for _, c := range checks {
		found := Check(program(t, c.policy), c.situation)
		var kinds []Kind
		for _, f := range found {
			kinds = append(kinds, f.Kind)
		}
		if !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s: got %v, want %v", c.name, found, c.kinds)
			continue
		}
		for _, want := range c.text {
			if text := found[0].Text + "; " + found[0].Hint; !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in %q", c.name, want, text)
			}
		}
	}
}

// TestHintsHelp follows each hint of a refusal, and the refusal is gone.
func TestHintsHelp(t *testing.T) {
	for _, c := range checks {
		for _, f := range Check(program(t, c.policy), c.situation) {
			if !f.Kind.Refuses() {
				continue
			}
			lines, _ := strings.CutPrefix(f.Hint, "add to the policy: ")
			for line := range strings.SplitSeq(lines, " or ") {
				key, _, _ := strings.Cut(line, " ")
				text := line + "\n"
				for old := range strings.Lines(c.policy) {
					if !strings.HasPrefix(old, key) {
						text += old
					}
				}
				for _, left := range Check(program(t, text), c.situation) {
					if left == f || left.Kind.Refuses() && left.Kind == f.Kind {
						t.Errorf("%s: after %s there is still: %v", c.name, line, left)
					}
				}
			}
		}
	}
}

// TestRefusals: whatever the policy, what is refused is just what neither passes
// nor has a door that is for it.
func TestRefusals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, err := automaton.Compile(automatontest.Policy(t, automatontest.Options{Laboratory: true}))
		if err != nil {
			t.Fatal(err)
		}
		src := rapid.SampledFrom(automatontest.Sources()).Draw(t, "source")
		to := port.Port{Proto: port.TCP, Number: uint16(rapid.IntRange(18, 32).Draw(t, "port"))}
		local := netip.MustParseAddr("192.0.2.1")
		if src.Is6() {
			local = netip.MustParseAddr("2001:db8::1")
		}
		s := &session.Session{Conn: session.Conn{Proto: port.TCP, Local: netip.AddrPortFrom(local, to.Number), Remote: netip.AddrPortFrom(src, 1)}}

		syn := automaton.Packet{Src: src, To: to, Flags: automaton.SYN}
		passes := automaton.NewInterpreter(g).Packet(syn).Verdict == automaton.Accept
		admitted := slices.ContainsFunc(g.Doors, func(d automaton.Door) bool {
			return d.Admits(g.Source(src)) && slices.ContainsFunc(g.Classes[d.Class].Services, func(r port.Range) bool { return r.Contains(to) })
		})
		found := Check(g, Situation{Session: s})
		refused := len(found) > 0 && found[0].Kind.Refuses()
		if want := !passes && !admitted; refused != want {
			t.Fatalf("refused is %v, want %v: %v", refused, want, found)
		}
	})
}

// Many doors to one service, and many sessions, are no trouble.
func TestManyDoors(t *testing.T) {
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "[door.d%d]\nopens = [\"tcp/22\"]\nfrom = [\"203.0.113.%d\"]\nknocks = [\"udp/%d\", \"udp/7\", \"udp/%d\"]\n",
			i, i%250, 1000+i, 9000+i*5%4999)
	}
	s := Situation{Session: by("192.0.2.1:22", "198.51.100.7:1")}
	for i := range 5000 {
		s.Sessions = append(s.Sessions,
			conn("192.0.2.1:22", fmt.Sprintf("198.51.%d.%d:1", 100+i/250, i%250)),
			conn("192.0.2.1:22", fmt.Sprintf("10.0.0.%d:%d", i%100, 1+i)))
	}
	g := program(t, text.String())
	start := time.Now()
	found := Check(g, s)
	if len(found) != 1+someWords || found[0].Kind != BehindDoor {
		t.Errorf("got %d: %v", len(found), found[0])
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
