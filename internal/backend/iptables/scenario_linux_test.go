package iptables

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// both runs a test with both variants and both families.
func both(t *testing.T, test func(t *testing.T, h *host, v6 bool)) {
	for _, v := range variants {
		for _, v6 := range []bool{false, true} {
			t.Run(v.name+"/"+map[bool]string{false: "ipv4", true: "ipv6"}[v6], func(t *testing.T) {
				t.Parallel()
				test(t, newHost(t, v.binary), v6)
			})
		}
	}
}

func reference(t testing.TB) string {
	return part(examples(t)["testdata/reference.txtar"], "policy.toml")
}

// opens sends packets one after the other and tells whether the last came through.
func (h *host) opens(packets ...lab.Packet) bool {
	h.t.Helper()
	through := h.sendAll(packets)
	for i, p := range packets[:len(packets)-1] {
		if through[i] && p.Proto == port.UDP {
			h.t.Errorf("knock %d was let through", i+1)
		}
	}
	return through[len(through)-1]
}

func TestReference(t *testing.T) {
	right := []port.Port{udp(12345), udp(23456), udp(34567)}
	both(t, func(t *testing.T, h *host, v6 bool) {
		h.load(reference(t))
		for i, c := range []struct {
			name   string
			knocks []port.Port
			open   bool
		}{
			{"no knock", nil, false},
			{"the sequence", right, true},
			{"backwards", []port.Port{udp(34567), udp(23456), udp(12345)}, false},
			{"by TCP", []port.Port{tcp(12345), tcp(23456), tcp(34567)}, false},
			{"one missing", []port.Port{udp(12345), udp(34567)}, false},
			{"a wrong one between", []port.Port{udp(12345), udp(23456), udp(1), udp(34567)}, false},
			{"a wrong one after", append(right[:3:3], udp(1)), false},
			{"a wrong TCP one after", append(right[:3:3], tcp(23)), false},
			{"a false start", append([]port.Port{udp(12345), udp(23456)}, right...), true},
			{"the first twice", append([]port.Port{udp(12345)}, right...), true},
			{"the second twice", []port.Port{udp(12345), udp(23456), udp(23456), udp(34567)}, false},
			{"public between", []port.Port{udp(12345), tcp(80), udp(23456), tcp(80), udp(34567)}, true},
		} {
			if got := h.opens(knocks(i, v6, append(c.knocks[:len(c.knocks):len(c.knocks)], tcp(22))...)...); got != c.open {
				t.Errorf("%s: open is %v", c.name, got)
			}
		}
		if h.opens(knocks(1, v6, tcp(22))...) {
			t.Error("a second connection was let in")
		}
		if !h.send(knocks(1, v6, tcp(80))[0]) {
			t.Error("a public service is closed")
		}
		// Another source does not gain, and does not disturb.
		h.sendAll(knocks(50, v6, right...))
		if h.opens(knocks(51, v6, tcp(22))...) || !h.opens(knocks(50, v6, tcp(22))...) {
			t.Error("sources are not kept apart")
		}
	})
}

// An open connection survives Load, a second one is refused, and the first
// still works after that.
func TestOpenConnectionLives(t *testing.T) {
	both(t, func(t *testing.T, h *host, v6 bool) {
		dst := netip.AddrPortFrom(lab.Server4(), 22)
		src := netip.AddrPortFrom(lab.Forged4(7), 4000)
		if v6 {
			dst, src = netip.AddrPortFrom(lab.Server6(), 22), netip.AddrPortFrom(lab.Forged6(7), 4000)
		}
		sshd, err := lab.NewResponder(h.pair.Server, port.TCP, dst)
		if err != nil {
			t.Fatal(err)
		}
		defer sshd.Close()
		h.load(reference(t))
		h.sendAll(knocks(7, v6, udp(12345), udp(23456), udp(34567)))
		flow, err := h.injector.Connect(t.Context(), src, dst, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.injector.Connect(t.Context(), netip.AddrPortFrom(src.Addr(), 4001), dst, 1<<29); err == nil {
			t.Error("a second connection was let in")
		}
		h.load(strings.Replace(reference(t), "34567", "34568", 1))
		echo := flow.Next([]byte("still here"))
		if err := h.injector.Send(t.Context(), echo); err != nil {
			t.Fatal(err)
		}
		passed, err := h.observer.Passed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !passed[echo.Tag] {
			t.Error("the open connection was cut")
		}
	})
}

// Twice per_source packets are heard in a burst, the one that made the bucket
// among them.
func TestLimit(t *testing.T) {
	const policy = `
[knocking]
per_source = "2/second"
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/1001", "udp/1009", "udp/1005"]
`
	sequence := []port.Port{udp(1001), udp(1009), udp(1005), tcp(22)}
	both(t, func(t *testing.T, h *host, v6 bool) {
		h.load(policy)
		for i, c := range []struct {
			junk int
			open bool
		}{{0, true}, {1, false}, {2, false}, {40, false}} {
			// A first knock, junk, and the sequence: 4 tokens and the junk. The
			// first makes the bucket. A grant needs none.
			all := []port.Port{udp(1001)}
			for range c.junk {
				all = append(all, udp(9))
			}
			through := h.sendAll(knocks(i, v6, append(all, sequence...)...))
			if got := through[len(through)-1]; got != c.open {
				t.Errorf("%d wrong packets: open is %v", c.junk, got)
			}
			for n, ok := range through[:len(through)-1] {
				if !ok {
					t.Errorf("%d wrong packets: guard dropped packet %d", c.junk, n)
				}
			}
		}
		// Junk without a change of place costs nothing.
		junk := make([]port.Port, 50)
		for i := range junk {
			junk[i] = udp(9)
		}
		if through := h.sendAll(knocks(20, v6, append(junk, sequence...)...)); !through[len(through)-1] {
			t.Error("a source at the start pays for wrong packets")
		}
		// A bucket fills up again.
		time.Sleep(2100 * time.Millisecond)
		if through := h.sendAll(knocks(3, v6, sequence...)); !through[3] {
			t.Error("the bucket did not fill up in two seconds of silence")
		}
	})
}

// All addresses of a /64 share a bucket, though each is a source of its own.
func TestLimitOfNetwork(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load("[knocking]\nper_source = \"2/second\"\n[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1001\", \"udp/1009\", \"udp/1005\"]\n")
		all := knocks(1, true, udp(1001), udp(1001), udp(1009), udp(1005), tcp(22), udp(1001))
		other := all[0].Src.As16()
		other[15] = 0x77
		all[0].Src = netip.AddrFrom16(other)
		if through := h.sendAll(all); !through[4] {
			t.Error("the door did not open with the last token")
		}
		all = knocks(2, true, udp(1001), udp(1001), udp(1001), udp(1009), udp(1005), tcp(22))
		for i := range 2 {
			other := all[i].Src.As16()
			other[15] = byte(0x70 + i)
			all[i].Src = netip.AddrFrom16(other)
		}
		if through := h.sendAll(all); through[5] {
			t.Error("each address of a network has a bucket")
		}
	})
}

func TestGrants(t *testing.T) {
	const policy = `
[knocking]
step_timeout = "3s"
[door.ssh]
opens    = ["tcp/22", "udp/5000-5010"]
knocks   = ["udp/1001", "udp/1009", "udp/1005"]
open_for = "2s"
[door.near]
opens    = ["tcp/2222"]
knocks   = ["udp/2001", "udp/2009", "udp/2005"]
from     = ["198.18.0.0/28", "2001:db8:a::/60"]
`
	open := []port.Port{udp(1001), udp(1009), udp(1005)}
	near := []port.Port{udp(2001), udp(2009), udp(2005), tcp(2222)}
	both(t, func(t *testing.T, h *host, v6 bool) {
		g := h.load(policy)
		h.sendAll(knocks(1, v6, open...))
		if got := h.sendAll(knocks(1, v6, tcp(22), udp(5005), tcp(22), tcp(2222))); got[0] != true || got[1] != true || got[2] != true || got[3] {
			t.Errorf("granted: %v", got)
		}
		if h.send(knocks(2, v6, tcp(22))[0]) {
			t.Error("open to another source")
		}
		l, err := h.backend.Loaded(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Grants) != 1 || l.Grants[0].Class != g.Classes[0].ID || l.Grants[0].Left <= 0 || l.Grants[0].Left > 2*time.Second {
			t.Errorf("%+v", l.Grants)
		}
		if !h.sendAll(knocks(3, v6, near...))[3] || h.sendAll(knocks(33, v6, near...))[3] {
			t.Error("from is not what it says")
		}
		time.Sleep(2100 * time.Millisecond)
		if h.send(knocks(1, v6, tcp(22))[0]) {
			t.Error("a grant does not end")
		}
		// A step that comes too late is a wrong packet.
		h.sendAll(knocks(4, v6, open[:2]...))
		time.Sleep(3100 * time.Millisecond)
		if h.sendAll(knocks(4, v6, open[2], tcp(22)))[1] {
			t.Error("a step has no end")
		}
	})
}

// What must not be forgotten in an input firewall.
func TestFirewallLetsIn(t *testing.T) {
	const policy = `
mode = "firewall"
public = ["tcp/80", "proto/112"]
trust = ["198.18.0.9", "2001:db8:a:9::/64", "iface:lo"]
[firewall]
icmp = false
[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/1001", "udp/1009", "udp/1005"]
`
	both(t, func(t *testing.T, h *host, v6 bool) {
		h.load(policy)
		loop, server := netip.MustParseAddr("127.0.0.1"), lab.Server4()
		if v6 {
			loop, server = netip.IPv6Loopback(), lab.Server6()
		}
		for _, at := range []netip.Addr{loop, server} {
			r, err := lab.NewResponder(h.pair.Server, port.TCP, netip.AddrPortFrom(at, 22))
			if err != nil {
				t.Fatal(err)
			}
			err = h.pair.Server.Do(func() error {
				c, err := net.DialTimeout("tcp", netip.AddrPortFrom(at, 22).String(), 2*time.Second)
				if err == nil {
					c.Close()
				}
				return err
			})
			if err != nil {
				t.Errorf("by loopback to %s: %v", at, err)
			}
			r.Close()
		}

		p := func(proto port.Proto, edit func(*lab.Packet)) lab.Packet {
			p := knocks(1, v6, port.Port{Proto: proto, Number: 68})[0]
			p.SrcPort = 67
			if v6 {
				p.DstPort = 546
			}
			edit(&p)
			return p
		}
		link := netip.MustParseAddr("fe80::ff:fe00:902") // the client's, or as good
		for _, c := range []struct {
			name string
			p    lab.Packet
			in   bool
			only string
		}{
			{"a DHCP answer", p(port.UDP, func(*lab.Packet) {}), !v6, ""},
			{"a DHCP answer from elsewhere", p(port.UDP, func(p *lab.Packet) { p.SrcPort = 1067 }), false, ""},
			{"a DHCPv6 answer", p(port.UDP, func(p *lab.Packet) { p.Src, p.SrcPort = link, 1547 }), true, "ipv6"},
			{"echo", p(port.ICMP, func(p *lab.Packet) { p.ICMPType = 8 }), false, "ipv4"},
			{"echo", p(port.ICMPv6, func(p *lab.Packet) { p.ICMPType = 128 }), false, "ipv6"},
			{"neighbour solicitation", p(port.ICMPv6, func(p *lab.Packet) { p.ICMPType = 135 }), true, "ipv6"},
			{"router advertisement", p(port.ICMPv6, func(p *lab.Packet) { p.ICMPType = 134 }), true, "ipv6"},
			{"a public protocol", p(112, func(*lab.Packet) {}), true, ""},
			{"another protocol", p(47, func(*lab.Packet) {}), false, ""},
			{"trust", knocks(9, v6, tcp(22))[0], true, ""},
			{"a service", knocks(1, v6, tcp(22))[0], false, ""},
			{"public", knocks(1, v6, tcp(80))[0], true, ""},
			{"whatever else", knocks(1, v6, tcp(81))[0], false, ""},
		} {
			if c.only != "" && (c.only == "ipv6") != v6 {
				continue
			}
			if got := h.send(c.p); got != c.in {
				t.Errorf("%s: let in is %v", c.name, got)
			}
		}
	})
}

// Two hosts find each other behind a firewall that accepts no ICMP but what is needed.
func TestNeighbourDiscovery(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load("mode = \"firewall\"\npublic = [\"tcp/80\"]\n[firewall]\nicmp = false\n[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1001\", \"udp/1009\", \"udp/1005\"]\n")
		for _, at := range []netip.Addr{lab.Server4(), lab.Server6()} {
			r, err := lab.NewResponder(h.pair.Server, port.TCP, netip.AddrPortFrom(at, 80))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for _, n := range []*lab.Namespace{h.pair.Server, h.pair.Client} {
				for _, family := range []string{"-4", "-6"} {
					if _, err := n.Run(t.Context(), "", "ip", family, "neigh", "flush", "all", "nud", "all"); err != nil {
						t.Fatal(err)
					}
				}
			}
			err = h.pair.Client.Do(func() error {
				c, err := net.DialTimeout("tcp", netip.AddrPortFrom(at, 80).String(), 3*time.Second)
				if err == nil {
					c.Close()
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}

// What goes around a door built on connection states or local addresses alone.
func TestGuardIsNotWalkedAround(t *testing.T) {
	const policy = `
[door.ssh]
opens  = ["tcp/22", "udp/5000"]
knocks = ["udp/1001", "udp/1009", "udp/1005"]
`
	both(t, func(t *testing.T, h *host, v6 bool) {
		h.load(policy)
		to := func(dst string, k port.Port) lab.Packet {
			p := knocks(1, v6, k)[0]
			p.Dst = netip.MustParseAddr(dst)
			return p
		}
		type probe struct {
			name string
			p    lab.Packet
			in   bool
		}
		bad := knocks(1, v6, udp(5000), udp(6000))
		bad[0].BadChecksum, bad[1].BadChecksum = true, true
		ack := knocks(1, v6, tcp(22))[0]
		ack.Flags = automaton.ACK
		probes := []probe{
			{"a service", knocks(1, v6, tcp(22))[0], false},
			{"a UDP service", knocks(1, v6, udp(5000))[0], false},
			{"another port", knocks(1, v6, tcp(23))[0], true},
			{"an invalid packet to a service", bad[0], false},
			{"an invalid packet elsewhere", bad[1], true},
			{"a segment of a connection", ack, true},
		}
		if v6 {
			probes = append(probes, probe{"multicast", to("ff02::1", udp(5000)), false}, probe{"multicast elsewhere", to("ff02::1", udp(5001)), true})
		} else {
			probes = append(probes, probe{"multicast", to("224.0.0.1", udp(5000)), false},
				probe{"broadcast", to("255.255.255.255", udp(5000)), false},
				probe{"subnet broadcast", to("10.9.0.255", udp(5000)), false},
				probe{"subnet broadcast elsewhere", to("10.9.0.255", udp(5001)), true})
		}
		for _, c := range probes {
			if got := h.send(c.p); got != c.in {
				t.Errorf("%s: let in is %v", c.name, got)
			}
		}
	})
}

// The expectation of a connection tracking helper does not walk past the door.
func TestRelated(t *testing.T) {
	for _, mode := range []string{"guard", "firewall"} {
		t.Run(mode, func(t *testing.T) {
			both(t, func(t *testing.T, h *host, v6 bool) {
				h.load(fmt.Sprintf("mode = %q\npublic = [\"tcp/21\"]\n[door.ssh]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1001\", \"udp/1009\", \"udp/1005\"]\n", mode))
				family, ipt, src, dst, pasv := "ipv4", "iptables", lab.Forged4(5), lab.Server4(), "227 Entering Passive Mode (10,9,0,1,0,%d)\r\n"
				if v6 {
					family, ipt, src, dst, pasv = "ipv6", "ip6tables", lab.Forged6(5), lab.Server6(), "229 Entering Extended Passive Mode (|||%d|)\r\n"
				}
				h.run(ipt, "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "21", "-j", "CT", "--helper", "ftp")
				ftp, err := lab.NewResponder(h.pair.Server, port.TCP, netip.AddrPortFrom(dst, 21))
				if err != nil {
					t.Fatal(err)
				}
				defer ftp.Close()
				for i, c := range []struct {
					to uint16
					in bool
				}{{22, false}, {77, true}} {
					flow, err := h.injector.Connect(t.Context(), netip.AddrPortFrom(src, uint16(3000+i)), netip.AddrPortFrom(dst, 21), uint32(i+1)<<28)
					if err != nil {
						t.Fatal(err)
					}
					// The service sends both back. The helper looks at lines that follow a line.
					for _, line := range []string{"220 welcome\r\n", fmt.Sprintf(pasv, c.to)} {
						if err := h.injector.Send(t.Context(), flow.Next([]byte(line))); err != nil {
							t.Fatal(err)
						}
						time.Sleep(50 * time.Millisecond)
					}
					expected := fmt.Sprintf("dport=%d", c.to)
					for deadline := time.Now().Add(3 * time.Second); !strings.Contains(h.run("conntrack", "-f", family, "-L", "expect"), expected); time.Sleep(5 * time.Millisecond) {
						if time.Now().After(deadline) {
							t.Fatalf("no expectation for port %d", c.to)
						}
					}
					if got := h.send(knocks(5, v6, tcp(c.to))[0]); got != c.in {
						t.Errorf("related to port %d: let in is %v", c.to, got)
					}
				}
			})
		})
	}
}

// With match_ttl a forger who does not know the client's distance cannot spoil
// its knocks.
func TestTTL(t *testing.T) {
	const policy = "[knocking]\nmatch_ttl = true\n" + guardPolicy
	both(t, func(t *testing.T, h *host, v6 bool) {
		h.load(policy)
		forge := func(p lab.Packet) lab.Packet {
			p.TTL = 55
			return p
		}
		k := knocks(1, v6, udp(1001), udp(1009), udp(1005), tcp(22))
		if through := h.sendAll([]lab.Packet{k[0], forge(knocks(1, v6, udp(9))[0]), k[1], forge(k[0]), forge(k[1]), k[2], k[3]}); through[6] {
			// What Check warns of: the forger was at the same place later.
			t.Error("two TTLs share a place")
		}
		k = knocks(2, v6, udp(1001), udp(1009), udp(1005), tcp(22))
		if through := h.sendAll([]lab.Packet{k[0], forge(knocks(2, v6, udp(9))[0]), k[1], forge(k[0]), forge(k[2]), k[2], k[3]}); !through[6] {
			t.Error("a forger with another TTL spoiled the knocks")
		}
		k = knocks(3, v6, udp(1001), udp(1009), udp(1005), tcp(22))
		if through := h.sendAll([]lab.Packet{k[0], k[1], forge(k[2]), k[3]}); through[3] {
			t.Error("a forger opened the door")
		}
	})
}

// Who is forgotten for lack of room is not free of the limit.
func TestForgottenIsNotHeard(t *testing.T) {
	const parameter = "/sys/module/xt_recent/parameters/ip_list_tot"
	if tot, err := os.ReadFile(parameter); err == nil && strings.TrimSpace(string(tot)) != fmt.Sprint(listTotal) {
		t.Skipf("%s is %s", parameter, tot)
	}
	both(t, func(t *testing.T, h *host, v6 bool) {
		h.load("[knocking]\nper_source = \"2/second\"\n" + guardPolicy)
		// The second first knock of a source is a repeat, with a token.
		all := knocks(1, v6, udp(1001), udp(9), udp(1001), udp(9))
		for src := range 150 {
			all = append(all, knocks(100+src, v6, udp(1001))...)
		}
		all = append(all, knocks(1, v6, udp(1001), udp(1009), udp(1005), tcp(22))...)
		for i := range all {
			all[i].SrcPort = uint16(20000 + i)
		}
		if through := h.sendAll(all); through[len(through)-1] {
			t.Error("a source got away from the limit")
		}
		if n := strings.Count(h.loaded(), " at 1"); n != listTotal {
			t.Errorf("%d sources in a list of %d", n, listTotal)
		}
	})
}

// A host may be knocked at by its link-local address.
func TestLinkLocal(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		h.load(guardPolicy)
		out := h.run("ip", "-6", "-o", "addr", "show", "scope", "link", "dev", lab.ServerDevice)
		_, rest, _ := strings.Cut(out, "inet6 ")
		server := netip.MustParsePrefix(strings.Fields(rest)[0]).Addr()
		all := knocks(1, true, tcp(22), udp(1001), udp(1009), udp(1005), tcp(22))
		for i := range all {
			all[i].Dst = server
		}
		if through := h.sendAll(all); through[0] || !through[4] {
			t.Errorf("%v", through)
		}
	})
}
