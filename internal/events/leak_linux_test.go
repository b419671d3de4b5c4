package events

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/backendtest"
	"tirl/internal/backend/backendtest/kinds"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
	"tirl/internal/port"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// Numbers of knocks that nothing else in an event can be: no address, length,
// source port or time has them.
const doors = `
[door.a]
opens    = ["tcp/22"]
knocks   = ["udp/61001", "udp/63002", "udp/61003"]
open_for = "30s"

[door.b]
opens    = ["tcp/2222"]
knocks   = ["udp/61001", "tcp/64005", "udp/62006"]
open_for = "once"

[door.c]
opens    = ["udp/5000"]
knocks   = ["tcp/62007", "udp/64008", "tcp/61009"]
open_for = "30s"
`

// allNetns makes the kernel log what namespaces log too (nf_log_all_netns,
// Documentation/networking/nf_conntrack-sysctl.rst).
func allNetns(t *testing.T) {
	t.Helper()
	const file = "/proc/sys/net/netfilter/nf_log_all_netns"
	before, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte("1"), 0o644)
	}
	if err != nil {
		if os.Getenv(labtest.RequireEnv) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { os.WriteFile(file, before, 0o644) })
}

// site is a server with doors, and what is logged of it.
type site struct {
	*testing.T
	*backendtest.Kernel
	g      *automaton.Program
	n      int // of this site: its sources are nobody else's
	reader Reader

	raw [][]byte // of the nflog group
}

func newSite(t *testing.T, n int, mode policy.Events, source string, mk backendtest.Maker) *site {
	t.Helper()
	s := &site{T: t, n: n}
	p, found := policy.Parse("policy", []byte(source+"\n[log]\nevents = \""+string(mode)+"\"\n"))
	if found.HasErrors() {
		t.Fatal(found)
	}
	var err error
	if s.g, err = automaton.Compile(p); err != nil {
		t.Fatal(err)
	}
	if s.Kernel, err = backendtest.New(t.Context(), s.g, mk); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if mode == policy.KernelEvents {
		s.reader, err = KernelLog(Now, true)
	} else {
		err = s.Pair.Server.Do(func() error {
			s.reader, err = openNflog(backend.EventGroup, func(b []byte) {
				s.raw = append(s.raw, slices.Clone(b))
			})
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.reader.Close() })
	return s
}

// source gives an address that no other test uses: the kernel log is one for all.
func (s *site) source(i int, v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr(fmt.Sprintf("2001:db8:e7:%x::%x", s.n*64+i, i+1))
	}
	return netip.AddrFrom4([4]byte{198, 19, byte(100 + s.n), byte(10 + i)})
}

func (s *site) sends(from netip.Addr, to ...string) {
	s.Helper()
	var all []automaton.Packet
	for _, name := range to {
		p, err := port.Parse(name)
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, automaton.Packet{Src: from, To: p, Flags: automaton.SYN, TTL: 64, Time: s.Late(0)})
	}
	if _, err := s.SendAll(s.Context(), all); err != nil {
		s.Fatal(err)
	}
}

// told reads what is logged of this site's sources until it is quiet.
func (s *site) told() []string {
	s.Helper()
	var all []string
	for {
		ctx, cancel := context.WithTimeout(s.Context(), 700*time.Millisecond)
		e, err := s.reader.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return all
		}
		if err != nil {
			s.Fatal(err)
		}
		if off := time.Since(e.Time); off < -time.Minute || off > time.Minute {
			s.Errorf("an event that is %v old: %v", off, e)
		}
		for i := range 64 {
			if e.Source == s.source(i, false) || e.Source == s.source(i, true) {
				_, text, _ := strings.Cut(e.String(), " ")
				all = append(all, text)
			}
		}
	}
}

// TestNoEventHoldsAKnock plays all that can happen at the doors, to all of their
// knocks, and looks for the knocks in whatever the kernel has logged.
func TestNoEventHoldsAKnock(t *testing.T) {
	labtest.Require(t)
	allNetns(t)
	n := 0
	t.Run("group", func(t *testing.T) {
		for _, mode := range []policy.Events{policy.KernelEvents, policy.NflogEvents} {
			for _, v := range kinds.All() {
				for _, kind := range []string{"guard", "firewall"} {
					n++
					n := n
					t.Run(fmt.Sprintf("%s/%s/%s", mode, v.Name, kind), func(t *testing.T) {
						t.Parallel()
						leaks(t, newSite(t, n, mode, "mode = \""+kind+"\"\n"+doors, v.Make), v.Name)
					})
				}
			}
		}
	})
}

func leaks(t *testing.T, s *site, variant string) {
	log := watchKernelLog(t)
	deferred := s.g.Events == policy.KernelEvents
	late := deferred || variant != "nftables" // wrong packets are told at the next packet to a service
	var want []string
	wants := func(kind string, from netip.Addr, service string) {
		want = append(want, strings.TrimSpace(kind+" "+from.String()+" "+service))
	}
	var flood []string
	for range 45 {
		flood = append(flood, "udp/61001", "udp/63002")
	}
	for _, v6 := range []bool{false, true} {
		for i, d := range s.g.Doors {
			service := s.g.Classes[d.Class].Services[0].String()
			knocks := make([]string, len(d.Knocks))
			for j, k := range d.Knocks {
				knocks[j] = k.String()
			}
			// The right sequence, a connection, and another one.
			from := s.source(10*i, v6)
			s.sends(from, append(knocks, service, service)...)
			if deferred {
				wants("opened", from, service)
			} else {
				wants("opened", from, "")
				wants("accepted", from, service)
			}
			if s.g.Classes[d.Class].Once {
				continue
			}
			wants("accepted", from, service)
			// Each beginning of it, a wrong packet, and a try.
			for j := 1; j < len(knocks); j++ {
				from := s.source(10*i+j, v6)
				s.sends(from, append(knocks[:j:j], "udp/9", service)...)
				if late {
					wants("wrong", from, service)
				} else {
					wants("wrong", from, "")
				}
				// A knock may be the wrong packet, and so may a connection.
				from = s.source(10*i+j+5, v6)
				s.sends(from, append(knocks[:j:j], knocks[(j+1)%len(knocks)], service, service)...)
				if late {
					wants("wrong", from, service)
				} else {
					wants("wrong", from, "")
				}
			}
		}
		from := s.source(50, v6)
		s.sends(from, append(flood, "tcp/22")...)
		if deferred {
			wants("limited", from, "tcp/22")
		} else {
			wants("limited", from, "")
		}
	}
	got := s.told()
	// Repeats are for the rate limits to judge; a restart at the same first knock may count as wrong.
	slices.Sort(want)
	slices.Sort(got)
	want, got = slices.Compact(want), slices.Compact(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	s.leaked(log(), len(got))
}

// watchKernelLog gives what the kernel log has from now on, as it is.
func watchKernelLog(t *testing.T) func() []string {
	t.Helper()
	r, err := KernelLog(Now, false)
	if err != nil {
		t.Fatal(err)
	}
	k := r.(*kernelLog)
	return func() []string {
		defer k.Close()
		return k.lines(t)
	}
}

// leaked fails for each knock in what was logged of this site.
func (s *site) leaked(lines []string, events int) {
	s.Helper()
	seen := 0
	for _, line := range lines {
		ours := strings.Contains(line, "tirl ") && (strings.Contains(line, fmt.Sprintf("SRC=198.19.%d.", 100+s.n)) ||
			regexp.MustCompile(`SRC=2001:0db8:00e7:`).MatchString(line))
		if !ours {
			continue
		}
		seen++
		for _, d := range s.g.Doors {
			for _, k := range d.Knocks {
				if regexp.MustCompile(fmt.Sprintf(`\b%d\b`, k.Number)).MatchString(line) {
					s.Errorf("the kernel log holds the knock %s: %s", k, line)
				}
			}
		}
	}
	if s.g.Events == policy.KernelEvents && seen < events {
		s.Errorf("%d lines of %d events were looked at", seen, events)
	}
	if s.g.Events == policy.NflogEvents && len(s.raw) < events {
		s.Errorf("%d messages of %d events were looked at", len(s.raw), events)
	}
	for _, m := range s.raw {
		e, ok := parseMessage(m, time.Now())
		if !ok {
			s.Errorf("not an event: %x", m)
		}
		attrs, err := nl.ParseRouteAttr(m[genHeader:])
		if err != nil {
			s.Fatal(err)
		}
		for _, a := range attrs {
			header := 20
			if e.Source.Is6() {
				header = 40
			}
			if a.Attr.Type&attrType != attrPayload {
				continue
			}
			if e.To.Number == 0 && len(a.Value) > header {
				s.Errorf("%v: %d bytes of the packet", e, len(a.Value))
			}
			if e.To.Number != 0 && !slices.ContainsFunc(s.g.Hidden(), func(r port.Range) bool { return r.Contains(e.To) }) {
				s.Errorf("%v: no service", e)
			}
		}
	}
}

// TestFloodCannotFillTheLog bounds what one source and many sources can have
// logged.
func TestFloodCannotFillTheLog(t *testing.T) {
	labtest.Require(t)
	allNetns(t)
	const sources, tries = 20, 25
	n := 40
	t.Run("group", func(t *testing.T) {
		for _, mode := range []policy.Events{policy.KernelEvents, policy.NflogEvents} {
			for _, v := range kinds.All() {
				n++
				n := n
				t.Run(string(mode)+"/"+v.Name, func(t *testing.T) {
					t.Parallel()
					s := newSite(t, n, mode, "[knocking]\nper_source = \"1000/second\"\n"+doors, v.Make)
					for i := range sources {
						var all []string
						for range tries {
							all = append(all, "udp/61001", "udp/9", "tcp/22")
						}
						s.sends(s.source(i, false), all...)
					}
					got := s.told()
					each := make(map[string]int)
					for _, text := range got {
						each[text]++
					}
					for text, n := range each {
						if n > 6 {
							t.Errorf("%d times: %s", n, text)
						}
					}
					// 50 at once and 10 a second, however many sources there are.
					if len(got) == 0 || len(got) > 50+10*10 {
						t.Errorf("%d events", len(got))
					}
					c, err := s.Backend.(backend.Operator).Counters(t.Context(), s.g)
					if err != nil {
						t.Fatal(err)
					}
					// Entries of one source that were deleted stay in the table until the
					// kernel collects them, once a second. Behind too many of them it adds
					// none (lib/rhashtable.c): the first knock is forgotten, and what
					// follows is not wrong.
					if want := uint64(sources * tries); c.Wrong > want || c.Wrong < want*9/10 {
						t.Errorf("%d wrong packets were counted, want %d or a few less", c.Wrong, want)
					}
				})
			}
		}
	})
}

// lines reads all records.
func (k *kernelLog) lines(t *testing.T) []string {
	t.Helper()
	var all []string
	buf := make([]byte, 4*maxRecord)
	for {
		n, err := unix.Read(k.fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return all
		case errors.Is(err, unix.EPIPE):
		case err != nil:
			t.Fatal(err)
		default:
			all = append(all, string(buf[:n]))
		}
	}
}
