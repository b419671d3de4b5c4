package backendtest

import (
	"fmt"
	"net"
	"net/netip"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// frame makes a packet that the server's kernel will see as p says.
func (k *Kernel) frame(p automaton.Packet) (lab.Packet, error) {
	if _, ok := k.cables[p.Iface]; !ok {
		return lab.Packet{}, fmt.Errorf("%w: it comes in by %s", ErrNotHere, p.Iface)
	}
	dst, err := destination(p)
	if err != nil {
		return lab.Packet{}, err
	}
	k.tag += tagStep
	f := lab.Packet{
		Src: p.Src, Dst: dst, Proto: p.To.Proto, DstPort: p.To.Number, SrcPort: p.SrcPort,
		TTL: p.TTL, Flags: p.Flags, Tag: k.tag, ICMPType: p.ICMP,
	}
	if f.SrcPort == 0 && (p.To.Proto == port.TCP || p.To.Proto == port.UDP) {
		f.SrcPort = firstPort + uint16(k.tag/tagStep%50000)
	}
	dress(&f, p.With)
	if p.Cut != automaton.Uncut {
		f.Payload = make([]byte, filling)
	}
	if f.SrcPort == 0 && f.ICMPType == 0 {
		// Not the bits by which GRE tells the version that PPTP uses.
		f.Tag /= tagStep
	}
	switch p.Conn {
	case automaton.New:
	case automaton.Invalid:
		// nf_conntrack drops nothing, but cannot place what has a wrong checksum
		// (net.netfilter.nf_conntrack_checksum), and by itself no TCP segment that is
		// neither a SYN nor an ACK.
		f.BadChecksum = p.To.Proto != port.TCP || couldBeNew(p.Flags)
	case automaton.Untracked:
		f.Tag |= untracked
	case automaton.Established:
		if err := k.continueFlow(p, &f); err != nil {
			return lab.Packet{}, err
		}
	case automaton.Related:
		switch {
		case p.To.Proto != port.TCP && p.To.Proto != port.UDP:
			err = k.aboutFlow(p, &f)
		case p.Cut.Comes(): // else the next packet would be the one that is expected
			err = k.announce(p.Src, p.To)
		}
		if err != nil {
			return lab.Packet{}, err
		}
	default:
		return lab.Packet{}, fmt.Errorf("%w: connection state %s", ErrNotHere, p.Conn)
	}
	return f, k.carry(&f, p)
}

// continueFlow makes a packet part of a flow that the server let in and answered.
func (k *Kernel) continueFlow(p automaton.Packet, f *lab.Packet) error {
	fl := k.flows[flowKey{p.Src, p.To}]
	if fl == nil || !fl.answered {
		return fmt.Errorf("%w: %s has no answered flow to %s", ErrNotHere, p.Src, p.To)
	}
	fl.sent++
	f.SrcPort = fl.srcPort
	if p.To.Proto == port.TCP {
		f.Flags |= automaton.ACK
		f.Tag, f.Ack = fl.tag+fl.sent, fl.ack
	}
	return nil
}

// aboutFlow makes an ICMP error about what the server said in the latest flow that
// it let in. Each kind of error that says so is one that sockets only take note of.
func (k *Kernel) aboutFlow(p automaton.Packet, f *lab.Packet) error {
	wanted, code := uint8(3), uint8(1) // host unreachable: RFC 792
	if p.Src.Is6() {
		wanted, code = 1, 3 // address unreachable: RFC 4443, section 3.1
	}
	if p.ICMP != wanted || p.To.Proto != port.ICMP && p.To.Proto != port.ICMPv6 {
		return fmt.Errorf("%w: a related packet that is no destination unreachable", ErrNotHere)
	}
	var to port.Port
	var latest *flow
	for key, fl := range k.flows {
		if key.src == p.Src && (latest == nil || fl.tag > latest.tag) {
			to, latest = key.to, fl
		}
	}
	if latest == nil {
		return fmt.Errorf("%w: %s has no flow that an error could be about", ErrNotHere, p.Src)
	}
	said := lab.Packet{Src: f.Dst, Dst: p.Src, Proto: to.Proto, SrcPort: to.Number, DstPort: latest.srcPort}
	frame, err := said.Frame()
	if err != nil {
		return err
	}
	f.ICMPCode, f.Payload = code, frame[etherHeader:]
	return nil
}

// etherHeader is the length of an Ethernet header without a tag.
const etherHeader = 14

// couldBeNew says whether connection tracking begins a flow with a TCP segment:
// tcp_valid_flags and tcp_conntracks in net/netfilter/nf_conntrack_proto_tcp.c,
// with net.netfilter.nf_conntrack_tcp_loose.
func couldBeNew(flags uint8) bool {
	switch flags &^ (automaton.PSH | automaton.ECE | automaton.CWR) {
	case automaton.SYN, automaton.SYN | automaton.URG, automaton.ACK, automaton.ACK | automaton.URG:
		return true
	}
	return false
}

// destination gives an address of the kind that the packet goes to.
func destination(p automaton.Packet) (netip.Addr, error) {
	v4 := p.Src.Is4()
	var s string
	switch {
	case p.Dest == automaton.ToHost && v4:
		return lab.Server4(), nil
	case p.Dest == automaton.ToHost && p.Src.IsLinkLocalUnicast():
		return netip.Addr{}, fmt.Errorf("%w: link-local to the host", ErrNotHere)
	case p.Dest == automaton.ToHost:
		return lab.Server6(), nil
	case p.Dest == automaton.ToBroadcast && v4:
		s = "10.9.0.255"
	case p.Dest == automaton.ToMulticast && v4:
		s = "224.0.0.1"
	case p.Dest == automaton.ToMulticast:
		s = "ff02::1"
	default:
		return netip.Addr{}, fmt.Errorf("%w: from %s to %s", ErrNotHere, p.Src, p.Dest)
	}
	return netip.MustParseAddr(s), nil
}

// Listen starts a service on the server that answers, so that flows to it
// become established.
func (k *Kernel) Listen(to port.Port) error {
	if k.listens[to] {
		return nil
	}
	k.listens[to] = true
	return k.Pair.Server.Do(func() error {
		address := fmt.Sprintf("[::]:%d", to.Number)
		if to.Proto == port.TCP {
			// The kernel completes the handshake; nobody need accept.
			l, err := net.Listen("tcp", address)
			if err == nil {
				k.open = append(k.open, l)
			}
			return err
		}
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		k.open = append(k.open, conn)
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				conn.WriteTo(buf[:n], from)
			}
		}()
		return nil
	})
}
