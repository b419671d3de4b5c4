package lab

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"tirl/internal/port"
)

// Frames that were put together and summed by hand.
func TestFrame(t *testing.T) {
	for _, c := range []struct {
		name string
		p    Packet
		want string
	}{
		{"udp", Packet{Src: Client4(0), Dst: Server4(), Proto: port.UDP, SrcPort: 1000, DstPort: 12345, Tag: 7}, `
			020000000901 020000000902 0800
			45 00 0020 0007 4000 40 11 26b2 0a090002 0a090001
			03e8 3039 000c b799 00000007`},
		{"untagged udp over IPv6", Packet{Src: Client6(0), Dst: Server6(), Proto: port.UDP, SrcPort: 1, DstPort: 2, Untagged: true, TTL: 3}, `
			020000000901 020000000902 86dd
			60000000 0008 11 03
			20010db8000900000000000000000002 20010db8000900000000000000000001
			0001 0002 0008 a454`},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.Join(strings.Fields(c.want), ""))
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.p.Frame()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("got  %x (%v)\nwant %x", got, err, want)
			}
		})
	}
}

func TestFrameErrors(t *testing.T) {
	good := Packet{Src: Client4(0), Dst: Server4(), Proto: port.UDP}
	for name, spoil := range map[string]func(*Packet){
		"no source":              func(p *Packet) { p.Src = netip.Addr{} },
		"no destination":         func(p *Packet) { p.Dst = netip.Addr{} },
		"two families":           func(p *Packet) { p.Dst = Server6() },
		"IPv4 with extensions":   func(p *Packet) { p.Extensions = []Extension{{Header: 60}} },
		"too many IPv4 options":  func(p *Packet) { p.Options = make([]byte, 41) },
		"IPv6 with IPv4 options": func(p *Packet) { p.Src, p.Dst, p.Options = Client6(0), Server6(), []byte{1} },
	} {
		p := good
		spoil(&p)
		if _, err := p.Frame(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := good.Frame(); err != nil {
		t.Error(err)
	}
}

func TestLinkAddress(t *testing.T) {
	for addr, want := range map[string]MAC{
		"10.9.0.1":                ServerMAC(),
		"2001:db8:9::1":           ServerMAC(),
		"10.9.0.255":              {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"255.255.255.255":         {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"239.129.2.3":             {0x01, 0x00, 0x5e, 0x01, 0x02, 0x03},
		"ff02::1:ff00:1":          {0x33, 0x33, 0xff, 0x00, 0x00, 0x01},
		"fe80::ff:fe00:901":       ServerMAC(),
		"2001:db8:9::":            ServerMAC(),
		"224.0.0.1":               {0x01, 0x00, 0x5e, 0x00, 0x00, 0x01},
		"198.18.0.1":              ServerMAC(),
		"2001:db8:a:ffff::dead:1": ServerMAC(),
	} {
		if got := linkAddress(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %x", addr, got)
		}
	}
}

// What the builder makes, the parser reads, with the same tag.
func TestTagsRoundTrip(t *testing.T) {
	extensions := []Extension{{Header: 0}, {Header: 60, Data: make([]byte, 9)}, {Header: 44, Data: make([]byte, 6)}, {Header: 43, Data: []byte{0, 0}}}
	for _, proto := range []port.Proto{port.TCP, port.UDP, port.ICMP, port.ICMPv6, 47, 132} {
		for _, p := range []Packet{
			{Src: Forged4(131071), Dst: Server4()},
			{Src: Forged4(3), Dst: Server4(), Options: []byte{7, 7, 4, 0, 0}},
			{Src: Forged6(70000), Dst: Server6()},
			{Src: Forged6(1), Dst: Server6(), Extensions: extensions},
		} {
			p.Proto, p.Tag, p.Payload = proto, 0xdeadbeef, []byte("odd")
			frame, err := p.Frame()
			if err != nil {
				t.Fatal(err)
			}
			ip, ok := parseIP(frame[etherHeader:])
			if !ok || ip.src != p.Src || ip.dst != p.Dst || ip.proto != proto || tagOf(proto, ip.body) != p.Tag {
				t.Errorf("%+v was read as %+v", p, ip)
			}
			if !bytes.HasSuffix(ip.body, p.Payload) {
				t.Errorf("%+v lost its payload", p)
			}
		}
	}
}

func TestForgedAddresses(t *testing.T) {
	seen := map[netip.Addr]bool{}
	v4, v6 := netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:db8:a::/48")
	for i := range 1 << 17 {
		a, b := Forged4(i), Forged6(i)
		if !v4.Contains(a) || !v6.Contains(b) || seen[a] || seen[b] {
			t.Fatalf("source %d: %s, %s", i, a, b)
		}
		seen[a], seen[b] = true, true
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, p := range []Packet{
		{Src: Forged4(1), Dst: Server4(), Proto: port.TCP, Flags: flagRST | flagACK},
		{Src: Forged4(1), Dst: Server4(), Proto: port.ICMP, ICMPType: 3, Payload: make([]byte, 28)},
		{Src: Forged6(1), Dst: Server6(), Proto: port.ICMPv6, ICMPType: 1, Payload: make([]byte, 60)},
		{Src: Forged6(1), Dst: Server6(), Proto: port.UDP, Extensions: []Extension{{Header: 60}}},
	} {
		frame, err := p.Frame()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if a, ok := parseAnswer(frame); ok && (!a.Src.IsValid() || !a.Dst.IsValid() || a.Kind.String() == "") {
			t.Errorf("%+v", a)
		}
	})
}
