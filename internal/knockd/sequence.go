package knockd

import (
	"math"
	"strings"

	"tirl/internal/port"
)

// sequence reads PORT[:PROTOCOL],... What stands behind a second colon is
// ignored, and a port that is no number is 0.
func (p *parser) sequence(s Setting) []Knock {
	var list []Knock
	at := s.At
	for word := range strings.SplitSeq(s.Text, ",") {
		if len(list) == MaxSequence {
			p.errorf(at, "", "a sequence has at most %d ports", MaxSequence)
			return nil
		}
		text, start := trim(word, at)
		at += len(word) + 1
		number, rest, hasProto := strings.Cut(word, ":")
		n := atoi(number)
		if n > math.MaxUint16 {
			p.errorf(start, "a port is at most 65535", "port %s is too large", show(strings.Trim(number, spaces)))
			continue
		}
		k := Knock{Port: port.Port{Proto: port.TCP, Number: uint16(n)}, At: start, Text: text}
		if hasProto {
			name, _, _ := strings.Cut(rest, ":")
			name, _ = trim(name, 0)
			switch upper(name) {
			case "TCP":
			case "UDP":
				k.Proto = port.UDP
			default:
				p.errorf(start, "write PORT:tcp or PORT:udp; nothing may stand behind it, no comment either", "the protocol %s is neither tcp nor udp", show(name))
				continue
			}
		}
		list = append(list, k)
	}
	return list
}

// Ports gives the sequence without positions.
func (d *Door) Ports() []port.Port {
	all := make([]port.Port, len(d.Sequence))
	for i, k := range d.Sequence {
		all[i] = k.Port
	}
	return all
}

// atoi is atoi(3) of the GNU C library: strtol(3), which stays at its bounds, cut
// to 32 bits.
func atoi(s string) int32 {
	s = strings.TrimLeft(s, spaces)
	negative := strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	var n uint64
	limit := uint64(math.MaxInt64)
	if negative {
		limit++
	}
	for i := 0; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		digit := uint64(s[i] - '0')
		if n > (limit-digit)/10 {
			n = limit
			break
		}
		n = n*10 + digit
	}
	if negative {
		n = -n
	}
	return int32(uint32(n))
}
