package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

// live makes a stream; it skips the test where the kernel does not let it.
func live(t *testing.T, p *lab.Pair, s lab.Stream) *lab.Live {
	t.Helper()
	l, err := lab.NewLive(p, s, lab.AnyCPU)
	if errors.Is(err, syscall.EPERM) && os.Getenv(labtest.RequireEnv) != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// counting rules say how many packets of each kind have come.
const counting = `table inet lab_count {
	set seen4 { typeof ip saddr . meta l4proto . th dport; flags dynamic; size 4096; counter; }
	set seen6 { typeof ip6 saddr . meta l4proto . th dport; flags dynamic; size 4096; counter; }
	chain count {
		type filter hook prerouting priority -500;
		ip daddr 10.9.0.1 add @seen4 { ip saddr . meta l4proto . th dport }
		ip6 daddr 2001:db8:9::1 meta l4proto { tcp, udp } add @seen6 { ip6 saddr . meta l4proto . th dport }
	}
}
`

func count(t *testing.T, p *lab.Pair) map[string]int {
	t.Helper()
	text, err := p.Server.Run(t.Context(), "", "nft", "list", "table", "inet", "lab_count")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, m := range regexp.MustCompile(`(\S+ \. \w+ \. \d+) counter packets (\d+)`).FindAllStringSubmatch(text, -1) {
		seen[m[1]], _ = strconv.Atoi(m[2])
	}
	return seen
}

// snmp reads one of the server's counters: of "Udp" and "NoPorts", say.
func snmp(t *testing.T, p *lab.Pair, protocol, counter string) (n int) {
	t.Helper()
	text, err := p.Server.Run(t.Context(), "", "cat", "/proc/net/snmp", "/proc/net/snmp6")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch {
		case words[0] == protocol+counter:
			n, _ = strconv.Atoi(words[1])
			return n
		case words[0] == protocol+":" && names == nil:
			names = words
		case words[0] == protocol+":":
			for i, name := range names {
				if name == counter {
					n, _ = strconv.Atoi(words[i])
					return n
				}
			}
		}
	}
	t.Fatalf("no counter %s of %s", counter, protocol)
	return 0
}

// Every packet of a stream comes, from the source whose turn it is, and is one that
// the kernel takes: it answers none with a wrong checksum.
func TestLive(t *testing.T) {
	for _, family := range []struct {
		name  string
		base  lab.Packet
		one   bool // network for all
		addrs []string
		udp   string
	}{
		{"IPv4", lab.Packet{Src: lab.Crowd4(), Dst: lab.Server4()}, false,
			[]string{"100.64.0.0", "100.64.0.1", "100.64.0.2"}, "Udp"},
		{"IPv6", lab.Packet{Src: lab.Crowd6(), Dst: lab.Server6()}, false,
			[]string{"fd74:6972::1", "fd74:6972:0:1::1", "fd74:6972:0:2::1"}, "Udp6"},
		{"IPv6 net", lab.Packet{Src: lab.Crowd6Net(), Dst: lab.Server6()}, true,
			[]string{"fd74:6972::", "fd74:6972::1", "fd74:6972::2"}, "Udp6"},
	} {
		t.Run(family.name, func(t *testing.T) {
			t.Parallel()
			p := labtest.Pair(t, lab.PairOptions{})
			if _, err := p.Server.Run(t.Context(), counting, "nft", "-f", "-"); err != nil {
				t.Fatal(err)
			}
			packet := func(proto port.Proto, to uint16) lab.Packet {
				p := family.base
				p.Proto, p.SrcPort, p.DstPort, p.Tag = proto, 40000, to, 1
				if proto == port.TCP {
					p.Flags = syn
				}
				return p
			}
			odd := packet(port.UDP, 1003)
			odd.Payload = []byte("odd")
			l := live(t, p, lab.Stream{
				Packets: []lab.Packet{packet(port.UDP, 1001), packet(port.TCP, 1002), odd},
				Sources: 300, Hold: 3, SameNet: family.one,
			})
			want := map[string]int{}
			// A whole number of batches and more, in three calls: the second goes on where the
			// first ended.
			const rounds, rest = 5, 7
			for i, n := range []int{rounds * 900, 5, rest - 5} {
				c, err := l.Run(t.Context(), n)
				if err != nil {
					t.Fatal(err)
				}
				if c.Packets != n || c.CPU <= 0 || c.Wall <= 0 || i == 0 && c.PerPacket() < 10 {
					t.Errorf("%+v", c)
				}
			}
			for i := range rest {
				want[family.addrs[i/3]+" . "+[]string{"udp . 1001", "tcp . 1002", "udp . 1003"}[i%3]]++
			}
			got := count(t, p)
			for key, n := range want {
				if got[key] != rounds+n {
					t.Errorf("%s: %d packets, want %d", key, got[key], rounds+n)
				}
			}
			if len(got) != 900 {
				t.Errorf("%d kinds of packets, want 900", len(got))
			}
			for _, c := range []struct {
				protocol, name string
				want           int
			}{
				{family.udp, "NoPorts", 2*rounds*300 + 5}, {family.udp, "InCsumErrors", 0},
				{"Tcp", "OutRsts", rounds*300 + 2}, {"Tcp", "InCsumErrors", 0},
			} {
				if n := snmp(t, p, c.protocol, c.name); n != c.want {
					t.Errorf("%s of %s: %d, want %d", c.name, c.protocol, n, c.want)
				}
			}

			if c, err := l.Drop(t.Context(), 1000); err != nil || c.Packets != 1000 {
				t.Errorf("%+v, %v", c, err)
			}
			if err := l.Rewind(); err != nil {
				t.Error(err)
			}
			if _, err := l.Run(t.Context(), 1); err != nil {
				t.Error(err)
			}
			key := family.addrs[0] + " . udp . 1001"
			if n := count(t, p)[key]; n != got[key]+1 {
				t.Errorf("%s after a thousand that were dropped and one more: %d, want %d", key, n, got[key]+1)
			}
		})
	}
}

// The packets are dealt with on the calling thread, whose time is taken: what rules
// cost shows there.
func TestLiveCost(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	l := live(t, p, lab.Stream{Packets: []lab.Packet{
		{Src: lab.Crowd4(), Dst: lab.Server4(), Proto: port.UDP, SrcPort: 1, DstPort: 2},
	}})
	measure := func(rules string) float64 {
		t.Helper()
		text := "table inet lab_cost\ndelete table inet lab_cost\ntable inet lab_cost { chain c { type filter hook prerouting priority -500;\n" + rules + "drop\n}\n}\n"
		if _, err := p.Server.Run(t.Context(), text, "nft", "-f", "-"); err != nil {
			t.Fatal(err)
		}
		c, err := l.Run(t.Context(), 20000)
		if err != nil {
			t.Fatal(err)
		}
		return c.PerPacket()
	}
	few, many := measure(""), measure(strings.Repeat("ip saddr 192.0.2.1 accept\n", 2000))
	t.Logf("a packet costs %.0f ns without rules, %.0f ns with 2000", few, many)
	if many < 3*few {
		t.Errorf("2000 rules: %.0f ns a packet, none: %.0f ns", many, few)
	}
	dropped, err := l.Drop(t.Context(), 20000)
	t.Logf("dropped by the program: %.0f ns, %v", dropped.PerPacket(), err)
	if err != nil || dropped.PerPacket() > few {
		t.Errorf("dropped by the program: %.0f ns, by a rule: %.0f ns; %v", dropped.PerPacket(), few, err)
	}
}

func TestLiveErrors(t *testing.T) {
	p := labtest.Pair(t, lab.PairOptions{})
	udp := lab.Packet{Src: lab.Crowd4(), Dst: lab.Server4(), Proto: port.UDP}
	six := lab.Packet{Src: lab.Crowd6(), Dst: lab.Server6(), Proto: port.UDP}
	icmp, last := udp, udp
	icmp.Proto = port.ICMP
	last.Src = lab.Client4(0)
	for name, s := range map[string]lab.Stream{
		"a stream has no packets":                             {},
		"packet 2 of a stream: is of another family":          {Packets: []lab.Packet{udp, six}},
		"packet 1 of a stream: is no plain TCP or UDP packet": {Packets: []lab.Packet{icmp}},
		"packet 1 of a stream: make a packet":                 {Packets: []lab.Packet{{Src: udp.Src, Dst: udp.Dst, Options: make([]byte, 44)}}},
		fmt.Sprint(1<<32, " sources cannot be numbered from"): {Packets: []lab.Packet{last}, Sources: 1 << 32},
	} {
		if _, err := lab.NewLive(p, s, lab.AnyCPU); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s", err, name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := live(t, p, lab.Stream{Packets: []lab.Packet{udp}})
	if c, err := l.Run(ctx, 1); !errors.Is(err, context.Canceled) || c.Packets != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if diff := cmp.Diff(nil, l.Close()); diff != "" {
		t.Error(diff)
	}
	if _, err := l.Run(t.Context(), 1); err == nil {
		t.Error("no error after close")
	}
}
