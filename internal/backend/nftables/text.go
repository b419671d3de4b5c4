package nftables

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tirl/internal/port"
)

// writer collects the text of a ruleset.
type writer struct {
	strings.Builder
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(w, format+"\n", args...)
}

// rule writes one rule and what it is for.
func (w *writer) rule(comment, format string, args ...any) {
	w.line("\t\t"+format+" comment %q", append(args, comment)...)
}

// chain writes a chain; its rules come from body.
func (w *writer) chain(name string, body func()) {
	w.line("\tchain %s {", name)
	body()
	w.line("\t}")
}

// handle writes a number as meta priority has it: major:minor, both in hex.
func handle(n uint32) string {
	return strconv.FormatUint(uint64(n>>16), 16) + ":" + strconv.FormatUint(uint64(n&0xffff), 16)
}

// parseHandle reads what nft prints for a meta priority.
func parseHandle(s string) (uint32, error) {
	if s == "none" {
		return 0, nil
	}
	major, minor, ok := strings.Cut(s, ":")
	if !ok {
		return 0, fmt.Errorf("%q is not a class handle", s)
	}
	var n uint32
	for _, half := range []string{major, minor} {
		v := uint64(0)
		if half != "" {
			var err error
			if v, err = strconv.ParseUint(half, 16, 16); err != nil {
				return 0, fmt.Errorf("%q is not a class handle: %w", s, err)
			}
		}
		n = n<<16 | uint32(v)
	}
	return n, nil
}

var units = [...]struct {
	name string
	d    time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// span writes a time as nft does, such as 1m30s. The kernel counts milliseconds.
func span(d time.Duration) string {
	var b strings.Builder
	for _, u := range units {
		if n := d / u.d; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.d
		}
	}
	if b.Len() == 0 {
		return "1ms"
	}
	return b.String()
}

// parseSpan reads what nft prints for a time.
func parseSpan(s string) (time.Duration, error) {
	var sum time.Duration
	rest := s
	for rest != "" {
		n := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if n <= 0 {
			return 0, fmt.Errorf("%q is not a time", s)
		}
		v, err := strconv.ParseInt(rest[:n], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is not a time: %w", s, err)
		}
		rest = rest[n:]
		name := rest
		if end := strings.IndexAny(rest, "0123456789"); end >= 0 {
			name = rest[:end]
		}
		unit := time.Duration(0)
		for _, u := range units {
			if u.name == name {
				unit = u.d
			}
		}
		if unit == 0 {
			return 0, fmt.Errorf("%q is not a time: unit %q", s, name)
		}
		sum += time.Duration(v) * unit
		rest = rest[len(name):]
	}
	return sum, nil
}

func protoName(p port.Proto) string {
	switch p {
	case port.TCP, port.UDP:
		return p.String()
	}
	return strconv.Itoa(int(p))
}

func portKey(p port.Port) string {
	return protoName(p.Proto) + " . " + strconv.Itoa(int(p.Number))
}

func rangeKey(r port.Range) string {
	if r.First == r.Last {
		return portKey(port.Port{Proto: r.Proto, Number: r.First})
	}
	return fmt.Sprintf("%s . %d-%d", protoName(r.Proto), r.First, r.Last)
}
