package doctor

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tirl/internal/knock"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/port"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

func ports(t testing.TB, list ...string) []port.Port {
	t.Helper()
	var all []port.Port
	for _, s := range list {
		p, err := port.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// TestListen has a client that leaves out a knock, as if its network swallowed
// it, and a server whose own firewall drops everything.
func TestListen(t *testing.T) {
	pair := labtest.Pair(t, lab.PairOptions{})
	const dropAll = "table inet x {\nchain x {\ntype filter hook prerouting priority -400; policy drop\n}\n}\n"
	if _, err := pair.Server.Run(t.Context(), dropAll, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	// Neighbour discovery must pass; ARP is not IP.
	if _, err := pair.Server.Run(t.Context(), "", "nft", "insert", "rule", "inet", "x", "x", "icmpv6", "type", "{ nd-neighbor-solicit, nd-neighbor-advert }", "accept"); err != nil {
		t.Fatal(err)
	}
	knocks := ports(t, "udp/1001", "tcp/2002", "udp/3003", "udp/1001", "tcp/2002")
	w := NewWatch(knocks)
	var mu sync.Mutex
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- pair.Server.Do(func() error {
			return Listen(ctx, w, func(a Arrival) {
				mu.Lock()
				defer mu.Unlock()
				_, text, _ := strings.Cut(a.String(), " ")
				got = append(got, text)
			}, func() { close(ready) })
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	sent := ports(t, "udp/1001", "tcp/2002", "udp/1001", "tcp/2002", "udp/999", "tcp/999")
	for _, to := range []netip.Addr{lab.Server4(), lab.Server6()} {
		err := pair.Client.Do(func() error {
			return knock.Send(t.Context(), []netip.Addr{to}, sent, knock.Options{Delay: 20 * time.Millisecond})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, from := range []string{lab.Client4(0).String(), lab.Client6(0).String()} {
		for _, s := range []string{"knock 1 of 5 (udp/1001)", "knock 2 of 5 (tcp/2002)", "knock 4 of 5 (udp/1001)", "knock 5 of 5 (tcp/2002)"} {
			want = append(want, s+" from "+from)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if m := w.Missing(); !slices.Equal(m, []int{3}) {
		t.Errorf("missing %v", m)
	}
}

// A filter for the most knocks that a door can have, and for one.
func TestFilterLoads(t *testing.T) {
	pair := labtest.Pair(t, lab.PairOptions{})
	var many []port.Port
	for i := range 16 {
		many = append(many, port.Port{Proto: port.UDP, Number: uint16(1000 + i)})
		err := pair.Server.Do(func() error {
			fd, err := listenSocket(many)
			if err == nil {
				unix.Close(fd)
			}
			return err
		})
		if err != nil {
			t.Errorf("%d knocks: %v", len(many), err)
		}
	}
}

func TestWatch(t *testing.T) {
	w := NewWatch(ports(t, "udp/1", "udp/1", "udp/2"))
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		from netip.Addr
		to   string
		want int // 0: no knock
	}{
		{a, "udp/1", 1}, {b, "udp/1", 1}, {a, "udp/1", 2}, {a, "udp/3", 0}, {a, "tcp/2", 0}, {a, "udp/2", 3}, {a, "udp/1", 1}, {b, "udp/2", 3},
	} {
		got, ok := w.Note(time.Time{}, tt.from, ports(t, tt.to)[0])
		if ok != (tt.want > 0) || got.Knock != tt.want {
			t.Errorf("%s from %s: knock %d, %v; want %d", tt.to, tt.from, got.Knock, ok, tt.want)
		}
	}
	if len(w.Missing()) != 0 {
		t.Errorf("missing %v", w.Missing())
	}
	at := time.Date(2026, 1, 2, 10, 21, 3, 0, time.UTC)
	if s := (Arrival{at, 2, 5, ports(t, "udp/7719")[0], netip.MustParseAddr("192.0.2.7")}).String(); s != "10:21:03 knock 2 of 5 (udp/7719) from 192.0.2.7" {
		t.Error(s)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0x45, 19: 0})
	f.Add([]byte{0x4f, 63: 0})
	f.Add([]byte{0x60, 60: 0})
	f.Fuzz(func(t *testing.T, b []byte) { decode(b) })
}
