package bench

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"tirl/internal/knock"
	"tirl/internal/lab"
)

// siege is a flood at a gate while honest clients come.
type siege struct {
	gate
	assault
	rate  int // packets a second; see [none] and [full]
	tries int // of each kind of client
}

// Rates that are none.
const (
	none = -1
	full = 0 // as fast as it goes
)

// outcome is what came of a siege.
type outcome struct {
	sent   float64 // packets a second
	taken  float64 // the share of them that the server's queue had room for
	visits map[client]visits
}

// client is a kind of honest client.
type client string

const (
	knocks  client = "knocks"
	granted client = "granted" // has knocked before the flood
	trusted client = "trusted" // comes from an address in `trust`
)

// visits are tries of clients of one kind.
type visits struct{ tries, in int }

// share is how many of a hundred got in.
func (v visits) share() float64 { return 100 * float64(v.in) / float64(max(v.tries, 1)) }

const (
	// What a flood leaves behind before anybody knocks: so many seconds of it, as long as
	// tables keep it, and at most more than connection tracking has room for.
	fillAge  = 10
	mostFill = 280_000
	// How long filling may take: a machine may lose more than it takes.
	fillWithin = 4 * time.Second
	// Between two knocks of who is granted, of which the queue is to lose none.
	grantGap = 50 * time.Microsecond
	// The flood runs for a moment before the first client.
	warmUp = 50 * time.Millisecond
)

// standing is a siege that is prepared.
type standing struct {
	siege
	place   *place
	flood   *lab.Flood
	frames  func(n int) []byte // nil: no flood
	clients []*visitor
	stop    func() (lab.Sent, error) // ends the flood that goes on
}

// prepare starts a gate and leaves there what a flood leaves behind, or begins with that.
func (s siege) prepare(ctx context.Context) (*standing, error) {
	p, err := newPlace(ctx, s.gate)
	if err != nil {
		return nil, err
	}
	st := &standing{siege: s, place: p}
	if err := st.set(ctx); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

func (s *standing) set(ctx context.Context) (err error) {
	if err := s.place.answersAsUsual(); err != nil {
		return err
	}
	if s.flood, err = lab.NewFlood(ctx, s.place.pair); err != nil {
		return err
	}
	if s.clients, err = s.place.clients(ctx, s.siege); err != nil || s.rate == none {
		return err
	}
	if s.frames, err = s.place.flood(ctx, s.assault); err != nil {
		return err
	}
	switch rate, lasts := s.ages(); {
	case lasts > 0:
		s.begin(ctx, rate)
		if !s.daemon {
			// There is more room when sets have just been cleared, once a second.
			s.place.apart = max(s.apart, 1200*time.Millisecond/time.Duration(s.tries))
		}
	case s.fills && !s.daemon:
		return s.fill(ctx)
	}
	return nil
}

// ages says how fast a flood is, and for how long, before the first client. A table that
// is full has room for as many as leave it, each second for those of one second ten
// seconds ago, and that takes ten seconds to come about. A faster flood does
// not make it otherwise. A list that a process keeps grows with the flood.
func (s siege) ages() (rate int, lasts time.Duration) {
	switch {
	case s.assault.name != knownFlood || s.rate == none:
		return 0, 0
	case s.daemon:
		return s.rate, s.age
	case s.room == 0 || s.rate != full && s.rate*fillAge < s.room*2/3:
		return 0, 0
	}
	rate = s.room / fillAge * 21 / 20
	if s.rate != full {
		rate = min(rate, s.rate)
	}
	return rate, fillAge*time.Second + time.Second // sets are cleared once a second
}

// begin has the flood go on until stop is called.
func (s *standing) begin(ctx context.Context, rate int) {
	under, cancel := context.WithCancel(ctx)
	var sent lab.Sent
	var err error
	done := make(chan struct{})
	go func() {
		sent, err = s.flood.Send(under, s.frames, rate, 0)
		close(done)
	}()
	s.stop = func() (lab.Sent, error) {
		cancel()
		<-done
		s.stop = nil
		return sent, err
	}
}

// run has the clients come, under the flood at its rate.
func (s *standing) run(ctx context.Context) (o outcome, err error) {
	if s.stop != nil {
		if _, err := s.stop(); err != nil {
			return o, err
		}
	}
	if s.rate == none {
		o.visits, err = s.place.receive(ctx, s.clients)
		return o, err
	}
	before, err := s.place.pair.Received()
	if err != nil {
		return o, err
	}
	s.begin(ctx, s.rate)
	if err = sleep(ctx, warmUp); err == nil {
		o.visits, err = s.place.receive(ctx, s.clients)
	}
	sent, failed := s.stop()
	after, uncounted := s.place.pair.Received()
	o.sent = sent.Rate()
	o.taken = min(1, float64(after-before)/float64(max(sent.Packets, 1)))
	return o, errors.Join(err, failed, uncounted)
}

// Close ends the flood and the gate.
func (s *standing) Close() error {
	var errs []error
	if s.stop != nil {
		_, err := s.stop()
		errs = append(errs, err)
	}
	if s.flood != nil {
		errs = append(errs, s.flood.Close())
	}
	return errors.Join(append(errs, s.place.Close())...)
}

// result is what came of a siege, or why nothing did.
type result struct {
	outcome
	failed string
}

// runSieges gives what came of each. Where tables fill, floods age side by side, which
// are slow as long as they do; clients come to one after the other.
func runSieges(ctx context.Context, all []siege) ([]result, error) {
	results := make([]result, len(all))
	ready := make([]*standing, len(all))
	defer func() {
		for _, s := range ready {
			if s != nil {
				s.Close()
			}
		}
	}()
	one := func(i int) {
		o, err := ready[i].run(ctx)
		err = errors.Join(err, ready[i].Close())
		results[i].outcome, ready[i] = o, nil
		if err != nil {
			results[i].failed = err.Error()
		}
	}
	prepare := func(i int) bool {
		s, err := all[i].prepare(ctx)
		if err != nil {
			results[i].failed = err.Error()
			return false
		}
		ready[i] = s
		return true
	}
	var together []int
	var lasts time.Duration
	for i, s := range all {
		_, its := s.ages()
		if its > 0 && !s.daemon {
			together, lasts = append(together, i), max(lasts, its)
		} else if prepare(i) {
			if err := sleep(ctx, its); err != nil {
				return nil, err
			}
			one(i)
		}
	}
	for _, i := range together {
		prepare(i)
	}
	if err := sleep(ctx, lasts); err != nil {
		return nil, err
	}
	for i := range all {
		if ready[i] != nil {
			one(i)
		}
	}
	return results, ctx.Err()
}

// answersAsUsual gives the server back the limits on ICMP errors that a host has.
func (p *place) answersAsUsual() error {
	const dir = "/proc/sys/net/ipv4/"
	limits := map[string][]byte{"icmp_ratelimit": nil, "icmp_ratemask": nil}
	for name := range limits {
		var err error
		if limits[name], err = os.ReadFile(dir + name); err != nil {
			return err
		}
	}
	return p.pair.Server.Do(func() error {
		for name, value := range limits {
			if err := os.WriteFile(dir+name, value, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// flood gives the frames of a flood for this gate.
func (p *place) flood(ctx context.Context, a assault) (func(int) []byte, error) {
	first := packetTo(stranger().Src, doorKnocks[0])
	if !p.open {
		packets, err := p.knock(ctx, first.Src)
		if err != nil {
			return nil, err
		}
		first = packets[0]
	}
	return a.frames(first)
}

// fill has the server see at once what the flood has sent so far.
func (s *standing) fill(ctx context.Context) error {
	most := mostFill
	if s.rate != full {
		most = min(most, s.rate*fillAge)
	}
	begin, err := s.place.pair.Received()
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(fillWithin); ; {
		now, err := s.place.pair.Received()
		if missing := most - int(now-begin); err != nil || missing <= 0 || time.Now().After(deadline) {
			return err
		} else if _, err := s.flood.Send(ctx, s.frames, full, missing); err != nil {
			return err
		}
	}
}

// visitor is a client and what it sends.
type visitor struct {
	kind   client
	src    netip.Addr
	knocks [][]byte
	probes map[int]bool // where there is nothing to knock at: those that were answered
	in     bool
}

// clients gives the clients of a siege. Who is to be granted is let in.
func (p *place) clients(ctx context.Context, s siege) (all []*visitor, err error) {
	for i := range s.tries {
		v := &visitor{kind: knocks, src: lab.Forged4(i), probes: make(map[int]bool)}
		if v.knocks, err = p.frames(ctx, v.src); err != nil {
			return nil, err
		}
		all = append(all, v)
		if !s.tirl || !s.fills {
			continue
		}
		before := &visitor{kind: granted, src: lab.Forged4(1<<15 + i)}
		frames, err := p.frames(ctx, before.src)
		if err != nil {
			return nil, err
		}
		for _, f := range frames {
			if err := errors.Join(p.tap.Write(f), nap(grantGap)); err != nil {
				return nil, err
			}
		}
		all = append(all, before, &visitor{kind: trusted, src: lab.Forged4(firstTrusted + i)})
	}
	return all, nil
}

// event is a frame that is due.
type event struct {
	at    time.Duration
	who   *visitor
	frame []byte // nil: only wait
	syn   bool   // not sent to one who is in
}

// receive has the clients come and go.
func (p *place) receive(ctx context.Context, clients []*visitor) (map[client]visits, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	events, err := p.schedule(clients)
	if err != nil {
		return nil, err
	}
	who := make(map[netip.Addr]*visitor)
	for _, v := range clients {
		who[v.src] = v
	}
	begin := time.Now()
	for _, e := range events {
		for {
			if err := p.look(who); err != nil {
				return nil, err
			}
			wait := e.at - time.Since(begin)
			if wait <= 0 || e.syn && e.who.in {
				break
			}
			if err := nap(min(wait, time.Millisecond)); err != nil {
				return nil, err
			}
		}
		if e.frame != nil && !(e.syn && e.who.in) {
			if err := p.tap.Write(e.frame); err != nil {
				return nil, err
			}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	count := make(map[client]visits)
	for _, v := range clients {
		n := count[v.kind]
		n.tries++
		if v.in && (!p.open || len(v.probes) == len(v.knocks)) {
			n.in++
		}
		count[v.kind] = n
	}
	return count, nil
}

// look sees who has been let in.
func (p *place) look(who map[netip.Addr]*visitor) error {
	answers, err := p.tap.Answers()
	for _, a := range answers {
		v, n := who[a.Dst], int(a.Tag)-1
		switch {
		case v == nil || a.Kind != lab.SynAck:
		case n < firstProbe:
			v.in = true
		default:
			v.probes[n] = true
		}
	}
	return err
}

// schedule says when which frame is sent. Clients begin one after the other and knock as
// `tirl knock` does. They send a SYN behind the last knock, and again as long as
// there is no answer.
func (p *place) schedule(clients []*visitor) ([]event, error) {
	var all []event
	at := make(map[client]time.Duration)
	for _, v := range clients {
		now := at[v.kind]
		at[v.kind] += p.apart
		for n, k := range v.knocks {
			if n > 0 {
				now += knock.DefaultDelay
			}
			all = append(all, event{at: now, who: v, frame: k})
		}
		for n, later := 0, time.Duration(0); later < p.settles; n, later = n+1, later+100*time.Millisecond {
			frame, err := syn(v.src, n).Frame()
			if err != nil {
				return nil, err
			}
			all = append(all, event{at: now + later, who: v, frame: frame, syn: true})
		}
		all = append(all, event{at: now + p.settles, who: v, syn: true})
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return all, nil
}
