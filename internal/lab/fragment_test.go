package lab

import (
	"bytes"
	"testing"

	"tirl/internal/port"
)

// Fragments say where their bytes belong, and put together they are the packet.
func TestFragments(t *testing.T) {
	pieces := []Piece{{To: 24}, {From: 24, To: 32}, {From: 32}}
	for _, p := range []Packet{
		{Src: Forged4(1), Dst: Server4(), Proto: port.TCP, Tag: 7, Payload: make([]byte, 21), Options: []byte{1, 1}},
		{Src: Forged6(1), Dst: Server6(), Proto: port.UDP, Tag: 7, Payload: make([]byte, 25), Extensions: []Extension{{Header: 60}}},
	} {
		frames, err := p.Fragments(0x12345, pieces...)
		if err != nil {
			t.Fatal(err)
		}
		var body []byte
		for i, frame := range frames {
			ip := frame[etherHeader:]
			id, place := uint32(be.Uint16(ip[4:])), int(be.Uint16(ip[6:]))
			offset, more, want := place&0x1fff*8, place>>13 == 1, uint32(0x2345)
			if p.Src.Is6() {
				header := ip[ipv6Header+8:] // behind the destination options
				id, place = be.Uint32(header[4:]), int(be.Uint16(header[2:]))
				offset, more, want = place&^7, place&1 == 1, 0x12345
			}
			if id != want || offset != pieces[i].From || more != (i < 2) {
				t.Errorf("%s, piece %d: ID %#x, offset %d, more %v", p.Proto, i, id, offset, more)
			}
			cut, ok := parseIP(ip)
			if !ok || cut.proto != p.Proto {
				t.Fatalf("%s, piece %d: read as %+v", p.Proto, i, cut)
			}
			body = append(body, cut.body...)
		}
		if !bytes.Equal(body, p.transport()) {
			t.Errorf("%s: put together they are %x", p.Proto, body)
		}
		for _, wrong := range []Piece{{From: 4}, {To: 20}, {From: 24, To: 16}, {From: 8, To: 1 << 12}} {
			if _, err := p.Fragments(1, wrong); err == nil {
				t.Errorf("%v is a piece", wrong)
			}
		}
	}
}
