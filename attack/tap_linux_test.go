package attack

import (
	"encoding/binary"
	"time"

	"tirl/internal/lab"
	"tirl/internal/port"
)

// tap is a lab.Tap whose failures are the test's.
type tap struct {
	*site
	*lab.Tap
}

const (
	ipv4Header = 20
	ipv6Header = 40
)

func (s *site) tap(at *lab.Namespace, device string) *tap {
	s.Helper()
	t, err := lab.NewTap(at, device)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { t.Close() })
	return &tap{s, t}
}

// write puts a frame on the cable.
func (t *tap) write(frame []byte) {
	if err := t.Write(frame); err != nil {
		t.Fatal(err)
	}
}

// next is [lab.Tap.Next].
func (t *tap) next(within time.Duration) []byte {
	ip, err := t.Next(within)
	if err != nil {
		t.Fatal(err)
	}
	return ip
}

// datagrams gives the ports of the next UDP packets that come.
func (t *tap) datagrams(count int) []port.Port {
	t.Helper()
	var seen []port.Port
	for len(seen) < count {
		ip := t.next(5 * time.Second)
		if ip == nil {
			t.Fatalf("%d datagrams came, not %d", len(seen), count)
		}
		header, proto := ipv4Header, ip[9]
		if ip[0]>>4 == 6 {
			header, proto = ipv6Header, ip[6]
		}
		if proto == uint8(port.UDP) {
			seen = append(seen, udp(binary.BigEndian.Uint16(ip[header+2:])))
		}
	}
	return seen
}
