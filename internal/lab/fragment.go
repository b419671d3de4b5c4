package lab

import "fmt"

// Piece is which bytes of a packet a fragment carries, counted behind the IP
// headers. To 0 is the end of the packet; every other To, and From, is a multiple
// of eight.
type Piece struct{ From, To int }

// fragment is what the IP headers of one say.
type fragment struct {
	id     uint32
	offset int
	more   bool
}

// fragmentHeader is the IPv6 extension header of a fragment (RFC 8200, section 4.5).
const fragmentHeader = 44

// place writes the offset in units of eight bytes, shifted, and the bit for more
// fragments: the highest but two in IPv4 (RFC 791, section 3.1), the lowest in IPv6.
func (f fragment) place(shift int) uint16 {
	v := uint16(f.offset/8) << shift
	switch {
	case f.more && shift == 0:
		v |= 1 << 13
	case f.more:
		v |= 1
	}
	return v
}

// Fragments gives a frame for each piece of the packet, which need neither be in
// order nor make a packet. IPv4 has 16 bits for the ID.
func (p Packet) Fragments(id uint32, pieces ...Piece) ([][]byte, error) {
	body := p.transport()
	frames := make([][]byte, len(pieces))
	for i, piece := range pieces {
		to := piece.To
		if to == 0 {
			to = len(body)
		}
		if piece.From < 0 || piece.From > to || to > len(body) || piece.From%8 != 0 || to%8 != 0 && to < len(body) {
			return nil, fmt.Errorf("no fragment of %d bytes goes from %d to %d", len(body), piece.From, piece.To)
		}
		var err error
		frames[i], err = p.frame(body[piece.From:to], &fragment{id, piece.From, to < len(body)})
		if err != nil {
			return nil, err
		}
	}
	return frames, nil
}
