package knock

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// names is a Resolver that answers every network with all that a name has, as a
// careless one may.
type names map[string][]string

var errNoName = errors.New("no such host")

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	texts, ok := n[host]
	if !ok {
		return nil, errNoName
	}
	return parse(texts...), nil
}

func parse(texts ...string) []netip.Addr {
	var addrs []netip.Addr
	for _, s := range texts {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

func TestResolve(t *testing.T) {
	resolver := names{
		"both.example":    {"2001:db8::2", "192.0.2.9", "::ffff:192.0.2.1", "2001:db8::1", "192.0.2.1"},
		"four.example":    {"192.0.2.1"},
		"blocked.example": {"0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1"},
	}
	tests := []struct {
		host    string
		network Family
		want    string // addresses, or a part of the error
	}{
		{"both.example", AnyFamily, "192.0.2.1 192.0.2.9 2001:db8::1 2001:db8::2"},
		{"both.example", IPv4, "192.0.2.1 192.0.2.9"},
		{"both.example", IPv6, "2001:db8::1 2001:db8::2"},
		{"four.example", IPv6, "four.example has no unicast IPv6 address"},
		{"blocked.example", AnyFamily, "blocked.example has no unicast IP address"},
		{"other.example", AnyFamily, "resolve other.example: no such host"},
		{"", AnyFamily, "no such host"},
		{"192.0.2.7", AnyFamily, "192.0.2.7"},
		{"192.0.2.7", IPv4, "192.0.2.7"},
		{"192.0.2.7", IPv6, "192.0.2.7 has no unicast IPv6 address"},
		{"2001:DB8:0::7", AnyFamily, "2001:db8::7"},
		{"2001:db8::7", IPv4, "2001:db8::7 has no unicast IPv4 address"},
		{"fe80::1%eth0", IPv6, "fe80::1%eth0"},
		{"::ffff:192.0.2.7", IPv4, "192.0.2.7"},
		{"0.0.0.0", AnyFamily, "0.0.0.0 has no unicast IP address"},
	}
	for _, tt := range tests {
		t.Run(tt.host+" "+tt.network.String(), func(t *testing.T) {
			addrs, err := Resolve(t.Context(), tt.host, Options{Network: tt.network, Resolver: resolver})
			if err != nil {
				if addrs != nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, error %q, want %q", addrs, err, tt.want)
				}
				return
			}
			var got []string
			for _, a := range addrs {
				got = append(got, a.String())
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %s, want %s", s, tt.want)
			}
		})
	}
}

func TestResolveKeepsTheCause(t *testing.T) {
	_, err := Resolve(t.Context(), "other.example", Options{Resolver: names{}})
	if !errors.Is(err, errNoName) {
		t.Errorf("%v does not wrap the resolver's error", err)
	}
}

// The default resolver reads the hosts file, which names localhost everywhere.
func TestResolveByDefault(t *testing.T) {
	addrs, err := Resolve(t.Context(), "localhost", Options{Network: IPv4})
	if err != nil || !slices.Contains(addrs, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("localhost: %v, %v", addrs, err)
	}
}
