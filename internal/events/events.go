// Package events reads what the rules report of the doors: from the kernel log,
// or from an nflog group. It is a reader and nothing else; no door needs it.
package events

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"tirl/internal/backend"
	"tirl/internal/port"
)

// Event is something that happened at the doors.
type Event struct {
	Time   time.Time
	Kind   string // backend.EventOpened and so on
	Source netip.Addr
	// To is the hidden service that the packet was for; its number is 0 if the
	// event is not told of a packet to a service.
	To port.Port
}

// String gives one line, such as "2026-11-23T10:00:00Z opened 192.0.2.7 tcp/22".
func (e Event) String() string {
	s := fmt.Sprintf("%s %s %s", e.Time.UTC().Format(time.RFC3339), e.Kind, e.Source)
	if e.To.Number != 0 {
		s += " " + e.To.String()
	}
	return s
}

// kind reads the prefix of a logged event.
func kind(prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(prefix, backend.EventPrefix)
	if !ok {
		return "", false
	}
	name, ok := strings.CutSuffix(rest, ": ")
	if !ok {
		return "", false
	}
	switch name {
	case backend.EventOpened, backend.EventAccepted, backend.EventWrong, backend.EventLimited:
		return name, true
	}
	return "", false
}

// parseText reads the text of a line of the kernel log (nf_log_ip_packet,
// net/netfilter/nf_log_syslog.c): the prefix, then NAME=VALUE words.
func parseText(text string) (Event, bool) {
	end := strings.Index(text, ": ")
	if end < 0 {
		return Event{}, false
	}
	name, ok := kind(text[:end+2])
	if !ok {
		return Event{}, false
	}
	e := Event{Kind: name}
	known := false // the protocol; an ICMP error quotes another packet's
	for word := range strings.FieldsSeq(text[end+2:]) {
		key, value, _ := strings.Cut(word, "=")
		switch {
		case key == "SRC" && !e.Source.IsValid():
			e.Source, _ = netip.ParseAddr(value)
		case key == "PROTO" && !known:
			known = true
			e.To.Proto = map[string]port.Proto{"TCP": port.TCP, "UDP": port.UDP}[value]
		case key == "DPT" && e.To.Number == 0 && e.To.Proto != 0:
			if n, err := strconv.ParseUint(value, 10, 16); err == nil {
				e.To.Number = uint16(n)
			}
		}
	}
	return e, e.Source.IsValid() && e.Source.Zone() == ""
}

// parseRecord reads a record of /dev/kmsg, "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT"
// (Documentation/ABI/testing/dev-kmsg). boot is when its clock began. What the
// kernel has not said itself is no event.
func parseRecord(record string, boot time.Time) (Event, bool) {
	head, text, ok := strings.Cut(record, ";")
	fields := strings.Split(head, ",")
	if !ok || len(fields) < 3 {
		return Event{}, false
	}
	priority, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || priority>>3 != 0 { // the facility, syslog(3); LOG_KERN is 0
		return Event{}, false
	}
	since, err := strconv.ParseInt(fields[2], 10, 62)
	if err != nil {
		return Event{}, false
	}
	text, _, _ = strings.Cut(text, "\n")
	e, ok := parseText(text)
	e.Time = boot.Add(time.Duration(since) * time.Microsecond)
	return e, ok
}

// parsePacket reads the beginning of an IP packet: as much as there is of it.
func parsePacket(b []byte) (src netip.Addr, to port.Port, ok bool) {
	const size4, size6 = 20, 40
	if len(b) == 0 {
		return src, to, false
	}
	var rest []byte
	switch version := b[0] >> 4; {
	case version == 4 && len(b) >= size4:
		src = netip.AddrFrom4([4]byte(b[12:16]))
		to.Proto = port.Proto(b[9])
		if header := int(b[0]&15) * 4; header >= size4 && header <= len(b) && (b[6]&0x1f|b[7]) == 0 {
			rest = b[header:]
		}
	case version == 6 && len(b) >= size6:
		src = netip.AddrFrom16([16]byte(b[8:24]))
		to.Proto = port.Proto(b[6])
		rest = b[size6:]
	default:
		return src, to, false
	}
	if to.Proto != port.TCP && to.Proto != port.UDP {
		to = port.Port{}
	} else if len(rest) >= 4 {
		to.Number = uint16(rest[2])<<8 | uint16(rest[3])
	}
	return src, to, true
}
