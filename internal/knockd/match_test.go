package knockd

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// run sends packets and gives the doors that open, each with the number of the
// packet. A packet is [@SECOND] [aSOURCE] PORT[/FLAGS] or udp/PORT.
func run(t *testing.T, config, packets string) string {
	t.Helper()
	here := netip.MustParseAddr("192.0.2.1")
	m := NewMatcher(parse(t, config), here)
	p := Packet{Src: netip.MustParseAddr("198.51.100.1"), Dst: here}
	var opened []string
	n := 0
	for word := range strings.FieldsSeq(packets) {
		switch {
		case word[0] == '@':
			s, err := strconv.Atoi(word[1:])
			if err != nil {
				t.Fatal(err)
			}
			p.Second = int64(s)
			continue
		case word[0] == 'a':
			p.Src = netip.MustParseAddr("198.51.100." + word[1:])
			continue
		case word[0] == 'd':
			p.Dst = netip.MustParseAddr("192.0.2." + word[1:])
			continue
		}
		number, isUDP := strings.CutPrefix(word, "udp/")
		number, flags, _ := strings.Cut(number, "/")
		value, err := strconv.Atoi(number)
		if err != nil {
			t.Fatal(err)
		}
		p.To, p.Flags = port.Port{Proto: port.TCP, Number: uint16(value)}, automaton.SYN
		if isUDP {
			p.To.Proto = port.UDP
		}
		if flags != "" {
			p.Flags = map[string]uint8{"A": automaton.ACK, "SA": automaton.SYN | automaton.ACK, "F": automaton.FIN}[flags]
		}
		n++
		for _, d := range m.Packet(p) {
			opened = append(opened, fmt.Sprintf("%d:%s", n, m.doors[d].Name))
		}
	}
	return strings.Join(opened, " ")
}

func TestMatcher(t *testing.T) {
	const one = "[x]\nsequence = 7000,8000,9000\nseq_timeout = 5\n"
	const syn = one + "tcpflags = syn\n"
	for _, c := range []struct{ what, config, packets, want string }{
		{"in order", syn, "7000 8000 9000", "3:x"},
		{"out of order", syn, "7000 9000 8000", ""},
		{"other ports are not seen", syn, "7000 1 8000 2 udp/9000 9000", "6:x"},
		{"a repeated knock ends it", syn, "7000 7000 8000 9000", ""},
		{"the third repeat begins anew", syn, "7000 7000 7000 8000 9000", "5:x"},
		{"a wrong packet is used up", syn, "7000 9000 7000 8000 9000", "5:x"},
		{"in time", syn, "@0 7000 @2 8000 @4 9000", "3:x"},
		{"too late", syn, "@0 7000 @2 8000 @5 9000", ""},
		{"what is too late may begin anew", syn, "@0 7000 @5 7000 8000 9000", "4:x"},
		{"flags do not fit: not seen", syn, "7000 8000/A 8000 9000", "4:x"},
		{"SYN and ACK fit", syn, "7000/SA 8000/SA 9000/SA", "3:x"},
		{"without flags every packet counts", one, "7000 7000/A 8000 9000", ""},
		{"without flags any packet is a knock", one, "7000/F 8000/A 9000", "3:x"},
		{"sources are apart", syn, "a1 7000 a2 7000 a1 8000 a2 8000 a2 9000 a1 9000", "5:x 6:x"},
		{"even a success of the oldest ends all that are younger", syn, "a1 7000 a2 7000 a1 8000 a2 8000 a1 9000 a2 9000", "5:x"},
		{"somebody else's failure ends all that are younger", syn, "a1 7000 9000 a2 7000 a3 7000 a2 8000 9000", "6:x"},
		{"the oldest of all fails", syn, "a1 7000 a2 7000 a2 8000 a1 9000 a2 9000", ""},
		{"one that is not the oldest fails", syn, "a2 7000 8000 a1 7000 7000 a2 9000", "5:x"},
		{"another address", syn, "7000 d9 8000 d1 8000 9000", "4:x"},
		{"an ascending scan", syn, "1 22 80 7000 7001 8000 8001 9000", "8:x"},
		{"again at once", syn, "7000 8000 9000 7000 8000 9000", "3:x 6:x"},
		{"UDP has no flags", "[x]\nsequence = 1:udp,2:udp,3\ntcpflags = syn", "udp/1 udp/2 3/A 3", "4:x"},
		{"the wrong protocol, if a door has it", "[x]\nsequence = 1:udp,2:tcp,1:tcp", "udp/1 udp/2 2 1", "4:x"},
		{"the wrong protocol, if no door has it", "[x]\nsequence = 1:udp,2:tcp,2:udp", "udp/1 udp/2 2 udp/2", ""},
		{"a target", "[x]\ntarget = 192.0.2.9\nsequence = 1,2,3", "1 2 3 d9 1 2 3", "6:x"},
		{"two doors in parallel", "[x]\nsequence = 1,2,3\n[y]\nsequence = 1,2,4", "1 2 3 1 2 4", "3:x 6:y"},
		{"two doors open at once", "[x]\nsequence = 1,2\n[y]\nsequence = 1,2", "1 2", "2:x 2:y"},
		{"a shorter door first", "[x]\nsequence = 1,2\n[y]\nsequence = 1,2,3", "1 2 3", "2:x"},
		{"a shorter door later", "[y]\nsequence = 1,2,3\n[x]\nsequence = 1,2", "1 2 3", "2:x 3:y"},
		{"a port of another door ends it", "[x]\nsequence = 1,2,3\n[y]\nsequence = 8,9", "1 8 2 3", ""},
		{"an attempt keeps other doors from beginning", "[x]\nsequence = 1,2,3\n[y]\nsequence = 2,3,4", "1 2 3 4", "3:x"},
		{"one port", "[x]\nsequence = 1\nseq_timeout = 0", "1 1", "1:x 2:x"},
		{"no time", "[x]\nsequence = 1,2\nseq_timeout = 0", "1 2", ""},
		{"a file of sequences", "[x]\none_time_sequences = f\n[y]\nsequence = 1", "1", "1:y"},
	} {
		if got := run(t, c.config, c.packets); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
