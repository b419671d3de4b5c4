package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// gate is a contender as a client meets it.
type gate struct {
	contender
	open bool // there is nothing to knock at: see firstProbe
	// tirl says that its policy has timed doors, and `trust` for who is in [trustedHosts].
	tirl   bool
	daemon bool // a process opens it
	// apart is the time between two clients, and settles when it is known whether one
	// got in: processes take their time, and knockd knows one client at a time.
	apart, settles time.Duration
	few            int           // of a hundred tries it gets so many
	room           int           // sources in its tables, which leave them after ten seconds; 0: otherwise
	age            time.Duration // a process: how long a flood that its list grows with goes on before the first client
}

const (
	soon = 5 * time.Millisecond
	// A rule acts on the next packet. SYNs that follow are for what is lost.
	ruleSettles = 400 * time.Millisecond

	// In the second half of Forged4.
	trustedHosts = "198.19.128.0/17"
	firstTrusted = 1<<16 + 1<<15
)

// trusting is a policy of which besides doors and strangers there is more to see.
const trusting = "trust = [\"" + trustedHosts + "\"]\n" + guardPolicy + "open_for = \"5m\"\n"

// usualRoom is how many sources a table of tirl holds, and, to one, a set of nftables
// without a size that the packet path adds to.
const usualRoom = 1 << 16

// withRules makes gates of contenders that are rules alone.
func withRules(all ...contender) []gate {
	gates := make([]gate, len(all))
	for i, c := range all {
		gates[i] = gate{contender: c, apart: soon, settles: ruleSettles, few: 100}
	}
	return gates
}

// withTirl makes a gate of a policy of tirl.
func withTirl(name, text string, k kinds.Kind, room int) gate {
	g := withRules(contender{name: name, load: tirl(text, k)})[0]
	g.tirl, g.room = true, room
	return g
}

// daemons are Debian's, as they come.
func daemons() []gate {
	return []gate{
		// Its knocks and its answer within one and the same 300 ms.
		{contender: contender{name: "knockd", load: startKnockd}, daemon: true, apart: 300 * time.Millisecond, settles: 800 * time.Millisecond, age: 4 * time.Second, few: 10},
		{contender: contender{name: "fwknopd", load: startFwknopd}, daemon: true, apart: 40 * time.Millisecond, settles: 800 * time.Millisecond, few: 20},
	}
}

// gates are all that is between clients and a service.
func gates() []gate {
	nft, ipt := kinds.All()[0], kinds.All()[1]
	all := withRules(rules()...)
	pick := func(name string) gate {
		for _, g := range all {
			if g.name == name {
				return g
			}
		}
		panic("no contender " + name)
	}
	wiki := pick("wiki form")
	wiki.room = usualRoom
	return append([]gate{
		pick(reference), wiki,
		withTirl(guard, trusting, nft, usualRoom),
		withTirl(firewall, "mode = \"firewall\"\n"+trusting, nft, usualRoom),
		withTirl(guard+", "+ipt.Name, trusting, ipt, 0),
	}, daemons()...)
}

// unguarded is a host without a gate.
func unguarded() gate {
	g := withRules(contender{name: empty, load: nothing})[0]
	g.open = true
	return g
}

// widened is a guard with more room for sources.
func widened() gate {
	return sized(fmt.Sprintf("%s, sources = %d", guard, wideRoom), wideRoom)
}

// sized is a guard with so many sources.
func sized(name string, sources int) gate {
	return withTirl(name, trusting+fmt.Sprintf("[knocking]\nsources = %d\n", sources), kinds.All()[0], sources)
}

const wideRoom = 1 << 19

// aloof is a guard that knows clients by their distance too. nft 1.0.6 can do that with
// networks of IPv6 alone.
func aloof() gate {
	return withTirl(guard+", match_ttl", trusting+"[knocking]\nmatch_ttl = true\nipv6_prefix = 64\n", kinds.All()[0], usualRoom)
}

// place is a server with a gate, and somebody at the client's end of the cable.
type place struct {
	gate
	pair    *lab.Pair
	process io.Closer // nil: rules alone
	ssh     *lab.Responder
	tap     *lab.Tap
}

func newPlace(ctx context.Context, g gate) (*place, error) {
	pair, err := lab.NewPair(lab.PairOptions{})
	if err != nil {
		return nil, err
	}
	p := &place{gate: g, pair: pair}
	if err := p.set(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", g.name, err), p.Close())
	}
	return p, nil
}

func (p *place) set(ctx context.Context) (err error) {
	if p.ssh, err = lab.NewResponder(p.pair.Server, doorService.Proto, netip.AddrPortFrom(lab.Server4(), doorService.Number)); err != nil {
		return err
	}
	if p.tap, err = lab.NewTap(p.pair.Client, lab.ClientDevice); err != nil {
		return err
	}
	if err := p.tap.OnlySynAcks(); err != nil {
		return err
	}
	p.process, err = p.load(ctx, p.pair.Server)
	return err
}

// Close gives up what there is of it.
func (p *place) Close() error {
	var errs []error
	if p.process != nil {
		errs = append(errs, p.process.Close())
	}
	if p.tap != nil {
		errs = append(errs, p.tap.Close())
	}
	if p.ssh != nil {
		errs = append(errs, p.ssh.Close())
	}
	return errors.Join(append(errs, p.pair.Close())...)
}

// knock gives what an honest source sends before it connects.
func (p *place) knock(ctx context.Context, src netip.Addr) ([]lab.Packet, error) {
	if s, ok := p.process.(*spa); ok {
		one, err := s.packet(ctx, src)
		return []lab.Packet{one}, err
	}
	all := make([]lab.Packet, len(doorKnocks))
	if p.open {
		// As many packets as at a door, and each must get there.
		for i := range all {
			all[i] = syn(src, firstProbe+i)
		}
		return all, nil
	}
	for i, k := range doorKnocks {
		all[i] = packetTo(src, k)
	}
	return all, nil
}

// frames is knock for the wire.
func (p *place) frames(ctx context.Context, src netip.Addr) ([][]byte, error) {
	packets, err := p.knock(ctx, src)
	if err != nil {
		return nil, err
	}
	all := make([][]byte, len(packets))
	for i, packet := range packets {
		if all[i], err = packet.Frame(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func packetTo(src netip.Addr, to port.Port) lab.Packet {
	return lab.Packet{Src: src, SrcPort: 40000, Dst: lab.Server4(), DstPort: to.Number, Proto: to.Proto}
}

// firstProbe is the number of the first SYN of a client that stands for a knock.
const firstProbe = 1000

// syn is the n-th attempt of a source to connect, from a port of its own.
func syn(src netip.Addr, n int) lab.Packet {
	p := packetTo(src, doorService)
	p.SrcPort, p.Tag, p.Flags = uint16(1024+n%60000), uint32(n+1), 0x02
	return p
}
