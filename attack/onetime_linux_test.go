package attack

import (
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// TestOneTimeReplay: what a listener has seen of a knock that worked opens nothing,
// sent again to the byte, from the same address or another, at once or after a refill.
// The next value opens.
func TestOneTimeReplay(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors, 8)
	s.eachKind(func(kind policy.OneTime, values []automaton.Value, family int) {
		client := []netip.Addr{lab.Client4(0), lab.Client6(0)}[family]
		stranger := families(1)[family]
		tap := s.tap(s.pair.Server, lab.ServerDevice)
		seen := s.record(tap, client, values[0])
		if !s.opensFor(client, values[0]) {
			t.Fatalf("%s, %s: the value opens nothing", kind, client)
		}
		s.shut(client)
		again := func(when string) {
			s.frames(seen)
			s.use(stranger, values[0])
			for _, src := range []netip.Addr{client, stranger} {
				if s.opensFor(src, values[0]) {
					t.Errorf("%s, %s: a replay %s opens", kind, src, when)
				}
			}
		}
		again("at once")
		s.refill()
		again("after a refill")
		s.record(tap, client, values[1])
		if !s.opensFor(client, values[1]) {
			t.Errorf("%s, %s: the next value opens nothing", kind, client)
		}
		s.refill()
	})
}

// record has a program of the client use a value, and gives the frames that came to
// the server.
func (s *userSite) record(tap *tap, client netip.Addr, v automaton.Value) [][]byte {
	s.Helper()
	to, content := v.Knocks, []byte(nil)
	if to == nil {
		to, content = []port.Port{udp(9)}, v.Token[:]
	}
	var seen [][]byte
	for _, k := range to {
		err := s.pair.Client.Do(func() error {
			c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0)),
				net.UDPAddrFromAddrPort(netip.AddrPortFrom(serverFor(client), k.Number)))
			if err != nil {
				return err
			}
			_, err = c.Write(content)
			return errors.Join(err, c.Close())
		})
		if err != nil {
			s.Fatal(err)
		}
		for {
			ip := tap.next(patience)
			if ip == nil {
				s.Fatal("the knock did not come")
			}
			if frame := ethernet(client, ip); isUDP(ip) {
				seen = append(seen, frame)
				break
			}
		}
	}
	if err := s.wire.Settle(s.Context()); err != nil {
		s.Fatal(err)
	}
	return seen
}

func isUDP(ip []byte) bool {
	if ip[0]>>4 == 6 {
		return ip[6] == uint8(port.UDP)
	}
	return ip[9] == uint8(port.UDP)
}

// ethernet puts an IP packet of the client into a frame to the server.
func ethernet(client netip.Addr, ip []byte) []byte {
	kind := []byte{0x08, 0x00}
	if client.Is6() {
		kind = []byte{0x86, 0xdd}
	}
	to, from := lab.ServerMAC(), lab.ClientMAC()
	return slices.Concat(to[:], from[:], kind, ip)
}

// TestOneTimeHeldBack: who keeps a knock from arriving, and has seen all of it, can
// use it himself, from where he likes. That does not hold; docs/security.md says so.
// Afterwards it opens nothing for the client, and the next value does.
func TestOneTimeHeldBack(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors, 4)
	s.eachKind(func(kind policy.OneTime, values []automaton.Value, family int) {
		client, thief := families(2)[family], families(3)[family]
		s.use(thief, values[0])
		if !s.opensFor(thief, values[0]) {
			t.Errorf("%s: a value that was held back opens nothing to the thief, so docs/security.md is wrong", kind)
		}
		s.use(client, values[0])
		if s.opensFor(client, values[0]) {
			t.Errorf("%s: a value opened twice", kind)
		}
		s.use(client, values[1])
		if !s.opensFor(client, values[1]) {
			t.Errorf("%s: the next value opens nothing", kind)
		}
	})
}

// TestOneTimeSeenButForTheLast: who has seen a sequence but for its last knock has to
// guess that one, and walks the whole path for each guess. A refill after the next
// success takes the path away.
func TestOneTimeSeenButForTheLast(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors, 4, unlimited)
	bob := s.of("bob")
	v, n := bob[0], len(bob[0].Knocks)-1
	thief := lab.Forged4(4)
	var guesses []port.Port
	for i := range 300 { // of some 64,000
		if k := udp(uint16(20000 + 101*i)); k != v.Knocks[n] {
			guesses = append(append(guesses, v.Knocks[:n]...), k)
		}
	}
	s.send(thief, guesses...)
	if s.getsIn(thief, pathService) || len(s.spent()) > 0 {
		t.Error("a wrong last knock opens, or spends")
	}
	// All last knocks after one way along the path: the first wrong one leads off it.
	s.send(thief, v.Knocks[:n]...)
	s.send(thief, sweep(30000, 3000, v.Knocks[n])...)
	s.send(thief, v.Knocks[n])
	if s.getsIn(thief, pathService) {
		t.Error("a sweep of last knocks opens")
	}
	// Without a wrong one it does open: what was abandoned is live.
	s.use(thief, v)
	if !s.getsIn(thief, pathService) {
		t.Error("an abandoned value was not live, so docs/security.md is wrong")
	}
}

// TestOneTimeAbandoned: values that were sent in part, or not at all, are dead once a
// later one was used and the pool refilled: their user's pool ends behind that.
func TestOneTimeAbandoned(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors, 8)
	s.eachKind(func(kind policy.OneTime, values []automaton.Value, family int) {
		client, thief := families(5)[family], families(6)[family]
		s.put(s.packets(client, values[0])[1:]...) // of a token nothing, of a sequence all but the first
		s.use(client, values[2])
		if !s.opensFor(client, values[2]) {
			t.Fatalf("%s: a later value opens nothing", kind)
		}
		if err := s.pool.Drop(t.Context(), s.g, values[:3]); err != nil {
			t.Fatal(err)
		}
		for _, v := range values[:3] {
			if s.use(thief, v); s.opensFor(thief, v) {
				t.Errorf("%s: value %d opens after a later one", kind, v.Number)
			}
		}
	})
}

// TestOneTimeGuessing: random tokens, tokens that differ in a bit, and sweeps of all
// ports, from the start and from behind the first knock, meet no value of a whole pool.
func TestOneTimeGuessing(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors, 256, unlimited)
	s.quiet()
	stranger := lab.Forged4(7)
	var frames [][]byte
	for range 5000 {
		var guess [16]byte
		rand.Read(guess[:])
		frames = append(frames, s.frame(s.datagram(stranger, 9, guess[:])))
	}
	for bit := range 128 {
		near := s.of("alice")[0].Token
		near[bit/8] ^= 1 << (bit % 8)
		frames = append(frames, s.frame(s.datagram(stranger, 9, near[:])))
	}
	s.frames(frames)
	first := s.of("bob")[0].Knocks[0]
	for _, order := range [][]port.Port{
		sweep(1024, 64512, port.Port{}), // a sweep of every port leads into paths, and out again
		append([]port.Port{first}, sweep(1024, 64512, first)...),
	} {
		s.send(stranger, order...)
		slices.Reverse(order)
		s.send(stranger, order...)
	}
	for _, to := range []uint16{tokenService, pathService} {
		if s.getsIn(stranger, to) {
			t.Errorf("guessing opened tcp/%d", to)
		}
	}
	if spent := s.spent(); len(spent) > 0 {
		t.Errorf("guessing has spent the values %v", spent)
	}
}

// sweep lists UDP ports from one on, without some port.
func sweep(from, count int, without port.Port) []port.Port {
	var all []port.Port
	for i := range count {
		if k := udp(uint16(from + i)); k != without {
			all = append(all, k)
		}
	}
	return all
}

// TestOneTimeExhaustion: a stranger who floods takes no value away and fills nothing
// that values need. While he fills the tables of places, tokens still open.
func TestOneTimeExhaustion(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors+"[knocking]\nsources = 64\n", 16)
	s.quiet()
	first := s.of("bob")[0].Knocks[0]
	var frames [][]byte
	for i := range 4000 {
		var content [16]byte
		rand.Read(content[:])
		src := lab.Forged4(100 + i)
		frames = append(frames, s.frame(s.datagram(src, 9, content[:])), s.frame(s.packet(src, first)))
	}
	s.frames(frames)
	if spent := s.spent(); len(spent) > 0 {
		t.Errorf("a stranger has spent the values %v", spent)
	}
	client := lab.Forged4(8)
	bob := s.of("bob")
	if s.use(client, bob[0]); s.opensFor(client, bob[0]) {
		t.Log("the tables were not full") // the machine was so slow that buckets ran out
	}
	for i, v := range s.of("alice") {
		src := families(20 + i)[i%2]
		if s.use(src, v); !s.opensFor(src, v) {
			t.Errorf("token %d opens nothing while tables are full", v.Number)
		}
	}
	time.Sleep(automaton.BucketLife + time.Second)
	if spent := s.spent(); len(spent) > len(s.of("alice"))+1 {
		t.Errorf("spent are %v", spent)
	}
}

// TestOneTimeFullRecord: where there is no room to note that a value is spent, it is
// not spent and opens nothing. A refill makes room.
func TestOneTimeFullRecord(t *testing.T) {
	t.Parallel()
	s := usersBy(t, altered("size 65536\n\t\tflags dynamic\n", "size 3\n\t\tflags dynamic\n"), userDoors, 8)
	for _, name := range []string{"alice", "bob"} {
		for i, v := range s.of(name) {
			src := families(30 + i)[i%2]
			s.use(src, v)
			if open := s.opensFor(src, v); open != (i < 3) {
				t.Errorf("%s, value %d: open is %v", name, i, open)
			}
		}
		s.refill()
		for i, v := range s.of(name)[3:6] {
			src := families(40 + i)[i%2]
			if s.use(src, v); !s.opensFor(src, v) {
				t.Errorf("%s, value %d: shut after a refill", name, i+3)
			}
		}
	}
}

// TestOneTimeSavedRules: who saves the rules with `nft list ruleset` saves live values
// with them, and loading that again brings back what was used meanwhile, until the next
// refill, as docs/security.md says: the pool then has another mark, so that it begins
// anew, as after a boot, with none of them.
func TestOneTimeSavedRules(t *testing.T) {
	t.Parallel()
	s := users(t, userDoors, 4)
	saved := s.run("nft list ruleset")
	mark := func() uint32 {
		m, ok, err := s.pool.Marker(t.Context())
		if !ok || err != nil {
			t.Fatalf("the mark of the pool: %v, %v", ok, err)
		}
		return m
	}
	s.eachKind(func(kind policy.OneTime, values []automaton.Value, family int) {
		before := mark()
		v := values[0]
		src, thief := families(50)[family], families(51)[family]
		if s.use(src, v); !s.opensFor(src, v) {
			t.Fatalf("%s: opens nothing", kind)
		}
		s.refill()
		s.nft("flush ruleset\n" + saved)
		if s.use(thief, v); !s.opensFor(thief, v) {
			t.Errorf("%s: saved rules bring nothing back, so docs/security.md is wrong", kind)
		}
		if after := mark(); after == before {
			t.Errorf("%s: a refill does not see that saved rules were loaded", kind)
		}
		s.nft("flush ruleset\n" + saved)
		if err := s.pool.Begin(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
		s.shut(thief)
		if s.use(thief, v); s.opensFor(thief, v) {
			t.Errorf("%s: a value outlived the beginning of another pool", kind)
		}
		s.nft("flush ruleset\n" + saved)
	})
}
