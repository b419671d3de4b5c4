package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"tirl/internal/port"
)

// Flow is a TCP connection of a forged source with a service of the server. The
// server's kernel, and its connection tracking if there is any, hold it for real.
// It is not safe for concurrent use.
type Flow struct {
	Src, Dst netip.AddrPort
	seq, ack uint32
}

// ErrRefused says that a SYN was not answered by SYN-ACK.
var ErrRefused = errors.New("the connection was not accepted")

// Connect opens a connection. Its SYN has the given tag, and the segments that
// follow, being numbered on from there, have the next ones; see [Flow.Next].
func (i *Injector) Connect(ctx context.Context, src, dst netip.AddrPort, tag uint32) (*Flow, error) {
	f := &Flow{Src: src, Dst: dst, seq: tag}
	if err := i.Send(ctx, f.packet(flagSYN, nil)); err != nil {
		return nil, err
	}
	a, ok := i.take(func(a Answer) bool {
		return a.Kind == SynAck && a.Tag == tag && a.DstPort == src.Port() && a.Dst == src.Addr()
	})
	if !ok {
		return nil, fmt.Errorf("connect %s to %s: %w", src, dst, ErrRefused)
	}
	f.ack = a.Seq + 1
	return f, i.Send(ctx, f.packet(flagACK, nil))
}

// Next gives the next segment of the connection, with data. The caller sends it;
// its Tag is its sequence number.
func (f *Flow) Next(data []byte) Packet { return f.packet(flagPSH|flagACK, data) }

// Finish gives the segment that closes the client's direction.
func (f *Flow) Finish() Packet { return f.packet(flagFIN|flagACK, nil) }

// Abort gives the segment that resets the connection.
func (f *Flow) Abort() Packet { return f.packet(flagRST|flagACK, nil) }

// Acknowledge takes note of a data segment of the server, so that the segments
// that follow acknowledge it.
func (f *Flow) Acknowledge(a Answer, length int) { f.ack = a.Seq + uint32(length) }

func (f *Flow) packet(flags uint8, data []byte) Packet {
	p := Packet{
		Src: f.Src.Addr(), SrcPort: f.Src.Port(),
		Dst: f.Dst.Addr(), DstPort: f.Dst.Port(),
		Proto: port.TCP, Flags: flags, Tag: f.seq, Ack: f.ack, Payload: data,
	}
	f.seq += uint32(len(data))
	if flags&(flagSYN|flagFIN) != 0 {
		f.seq++
	}
	return p
}
