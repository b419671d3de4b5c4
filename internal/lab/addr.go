package lab

import "net/netip"

// Device names and link-layer addresses of a pair. Both are fixed, so that
// frames can be made without asking anybody.
const (
	ServerDevice = "srv0"
	ClientDevice = "cli0"
)

// MAC is an Ethernet address.
type MAC [6]byte

// ServerMAC is the address of [ServerDevice]. It is locally administered.
func ServerMAC() MAC { return MAC{0x02, 0, 0, 0, 0x09, 0x01} }

// ClientMAC is the address of [ClientDevice].
func ClientMAC() MAC { return MAC{0x02, 0, 0, 0, 0x09, 0x02} }

// Server4 is the IPv4 address of the server, in 10.9.0.0/24.
func Server4() netip.Addr { return onlink4(1) }

// Server6 is the IPv6 address of the server, in 2001:db8:9::/64.
func Server6() netip.Addr { return onlink6(1) }

// Client4 is the i-th IPv4 address of the client, counted from 0: 10.9.0.2 and on.
func Client4(i int) netip.Addr { return onlink4(2 + i) }

// Client6 is the i-th IPv6 address of the client, counted from 0: 2001:db8:9::2 and on.
func Client6(i int) netip.Addr { return onlink6(2 + i) }

// Forged4 is the i-th of 131072 IPv4 sources behind the client, in 198.18.0.0/15
// (RFC 2544). The client does not own them: it is silent about answers to them.
func Forged4(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, byte(18 + i>>16&1), byte(i >> 8), byte(i)})
}

// Forged6 is the i-th IPv6 source behind the client, in 2001:db8:a::/48. Each
// is in a /64 of its own.
func Forged6(i int) netip.Addr {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0x00, 0x0a, byte(i >> 8), byte(i)}
	a[13], a[15] = byte(i>>16), 1
	return netip.AddrFrom16(a)
}

func onlink4(host int) netip.Addr { return netip.AddrFrom4([4]byte{10, 9, 0, byte(host)}) }

func onlink6(host int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0x00, 0x09, 14: byte(host >> 8), 15: byte(host)})
}
