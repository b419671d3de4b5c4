package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"tirl/internal/lab"
	"tirl/internal/port"
)

// stage is a server with a contender, and a sink behind it.
type stage struct {
	contender
	pair   *lab.Pair
	open   []io.Closer
	daemon *daemon            // nil: it has none
	flows  map[bool]*lab.Flow // by whether it is IPv6: an open TCP connection
}

// newStages sets up contenders for a pattern; nil for those that it is nothing for.
func newStages(ctx context.Context, contenders []contender, p pattern, f family) ([]*stage, error) {
	stages := make([]*stage, len(contenders))
	for i, c := range contenders {
		if !c.knows(p, f) {
			continue
		}
		var err error
		if stages[i], err = newStage(ctx, c); err != nil {
			return nil, errors.Join(err, closeStages(stages))
		}
	}
	return stages, nil
}

func closeStages(stages []*stage) error {
	var errs []error
	for _, s := range stages {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// Ports of the open flows. The server began the UDP flow, as a resolver's client does.
const (
	publicPort = 80
	udpPort    = 5300
	flowPort   = 41000
)

const sinkTable = "bench_sink"

// sink is where everything ends that a contender lets through: in front of the
// sockets, so that no answer of theirs is in the cost, and of what makes an entry of
// connection tracking of a first packet (INT_MAX: nf_conntrack_l3proto), so that a
// million first packets make no million entries, which every contender would pay
// for alike.
const sink = "table inet " + sinkTable + ` {
	counter service { }
	counter other { }
	chain input {
		type filter hook input priority 2147483646; policy drop;
		tcp dport 22 counter name "service" drop
		counter name "other"
	}
}
`

func newStage(ctx context.Context, c contender) (s *stage, err error) {
	s = &stage{contender: c, flows: make(map[bool]*lab.Flow)}
	if s.pair, err = lab.NewPair(lab.PairOptions{}); err != nil {
		return nil, err
	}
	if err = s.set(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", c.name, err), s.Close())
	}
	return s, nil
}

func (s *stage) set(ctx context.Context) error {
	process, err := s.load(ctx, s.pair.Server)
	if err != nil {
		return err
	}
	if process != nil {
		s.open = append(s.open, process)
	}
	switch p := process.(type) {
	case *daemon:
		s.daemon = p
	case *spa:
		s.daemon = p.daemon
	}
	if err := s.establish(ctx); err != nil {
		return fmt.Errorf("open flows: %w", err)
	}
	_, err = s.pair.Server.Run(ctx, sink, "nft", "-f", "-")
	return err
}

// establish opens a TCP and a UDP flow of each family, for good.
func (s *stage) establish(ctx context.Context) error {
	injector, err := lab.NewInjector(s.pair)
	if err != nil {
		return err
	}
	defer injector.Close()
	for _, f := range families() {
		at := netip.AddrPortFrom(f.server, publicPort)
		web, err := lab.NewResponder(s.pair.Server, port.TCP, at)
		if err != nil {
			return err
		}
		s.open = append(s.open, web)
		// A busy machine may answer late; a client sends its SYN again.
		for range 5 {
			if s.flows[f.six], err = injector.Connect(ctx, netip.AddrPortFrom(f.peer, flowPort), at, 1); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			return err
		}
		if err := s.pair.Server.Do(func() error { return f.call(udpPort, flowPort) }); err != nil {
			return err
		}
	}
	err = s.pair.Server.Do(func() error {
		return os.WriteFile("/proc/sys/net/netfilter/nf_conntrack_udp_timeout", []byte("86400"), 0)
	})
	if errors.Is(err, os.ErrNotExist) { // no connection tracking in this kernel
		return nil
	}
	return err
}

// call sends a datagram to the peer.
func (f family) call(from, to int) error {
	c, err := net.DialUDP("udp", &net.UDPAddr{Port: from}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.peer, uint16(to))))
	if err != nil {
		return err
	}
	_, err = c.Write([]byte("hello"))
	return errors.Join(err, c.Close())
}

// Close gives everything up.
func (s *stage) Close() error {
	var errs []error
	for _, o := range s.open {
		errs = append(errs, o.Close())
	}
	return errors.Join(append(errs, s.pair.Close())...)
}

// arrived says how many packets have come to the sink, to the door's service and
// elsewhere.
func (s *stage) arrived() (service, other int, err error) {
	err = s.pair.Server.Do(func() error {
		n, err := counters()
		service, other = n["service"], n["other"]
		return err
	})
	return service, other, err
}

// family is IPv4 or IPv6.
type family struct {
	six    bool
	server netip.Addr
	peer   netip.Addr // of the flows that are open
	crowd  netip.Addr // the first of many sources
}

func families() []family {
	return []family{
		{false, lab.Server4(), lab.Forged4(1), lab.Crowd4()},
		{true, lab.Server6(), lab.Forged6(1), lab.Crowd6()},
	}
}

// block gives the family with the i-th of 16 crowds, so that one pattern's sources
// are not another's.
func (f family) block(i int) family {
	b := f.crowd.AsSlice()
	if f.six {
		b[5] += byte(4 * i)
	} else {
		b[1] += byte(4 * i)
	}
	f.crowd, _ = netip.AddrFromSlice(b)
	return f
}

func (f family) String() string {
	if f.six {
		return "IPv6"
	}
	return "IPv4"
}
