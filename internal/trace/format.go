package trace

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// String writes a trace so that Parse reads the same one.
func (t *Trace) String() string {
	var b strings.Builder
	source, clock := DefaultSource(), -Gap
	for _, s := range t.Steps {
		p := s.Packet
		if gap := p.Time - clock; gap != Gap {
			fmt.Fprintf(&b, "+%s ", Span(p.Time-max(clock, 0)))
		}
		b.WriteString(s.target())
		if p.Src != source {
			b.WriteString(" from " + p.Src.String())
			source = p.Src
		}
		b.WriteString(s.words() + "\n")
		clock = s.end()
	}
	if rest := t.End - max(clock, 0); rest > 0 {
		fmt.Fprintf(&b, "wait %s\n", Span(rest))
	}
	return b.String()
}

// String gives the line of a step, with its source and without its time.
func (s Step) String() string {
	return s.target() + " from " + s.Packet.Src.String() + s.words()
}

// Line writes a packet as a line of a trace, with its source and without its time.
func Line(p automaton.Packet) string {
	return Step{Packet: p, Last: p.To.Number}.String()
}

// target is what a step is addressed to.
func (s Step) target() string {
	to := s.Packet.To
	if s.Last == to.Number {
		return to.String()
	}
	return fmt.Sprintf("%s-%d", to, s.Last)
}

// words are those that differ from what holds without them.
func (s Step) words() string {
	p := s.Packet
	var b strings.Builder
	word := func(differs bool, name, value string) {
		if differs {
			b.WriteString(" " + name + " " + value)
		}
	}
	word(p.SrcPort != 0, "sport", strconv.Itoa(int(p.SrcPort)))
	word(p.TTL != DefaultTTL, "ttl", strconv.Itoa(int(p.TTL)))
	word(p.ICMP != defaultType(p.To.Proto), "type", strconv.Itoa(int(p.ICMP)))
	word(p.To.Proto == port.TCP && p.Flags != defaultFlags(p), "flags", flagText(p.Flags))
	word(p.Conn != automaton.New, "state", p.Conn.String())
	word(p.Dest != automaton.ToHost, "to", p.Dest.String())
	word(p.Iface != "", "via", p.Iface)
	word(p.With != 0, "with", p.With.String())
	word(p.Cut != automaton.Uncut, "as", p.Cut.String())
	word(p.Data != "", "data", hex.EncodeToString([]byte(p.Data)))
	word(s.Len() > 1 && s.Gap != SweepGap, "gap", Span(s.Gap))
	return b.String()
}

// flagNames are in the order of the bits.
var flagNames = [...]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

func flagText(flags uint8) string {
	var names []string
	for i, name := range flagNames {
		if flags&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// Span writes a time without its zero units: 30s, 10m, 1h30m, 1.5s.
func Span(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
