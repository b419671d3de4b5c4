package demo

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/port"
)

// longestWait is how long the demo waits for a timed door to close by itself.
const longestWait = 3 * time.Second

// scene is one run of the scenario: a door, seen by a client of one family.
type scene struct {
	stage  *stage
	server netip.Addr
	door   automaton.Door
	class  automaton.Class
	stray  port.Port   // a port that no door knows
	public []port.Port // what everybody may reach
}

// step is one thing that the client did, and what came of it.
type step struct {
	kind kind
	what string // what the client did
	open bool   // what it found
	want bool
	why  string // what it shows
}

type kind int

const (
	public kind = iota
	before      // the door, before any knock
	action      // a knock or a sweep: finds nothing by itself
	opened
	second
	held // the connection that was open before
	expired
	wrong
	swept
)

// play acts the scene out and tells each step as it happens.
func (s *scene) play(ctx context.Context, tell func(step)) error {
	service := port.Port{Proto: s.class.Services[0].Proto, Number: s.class.Services[0].First}
	look := func(k kind, want bool, why string) net.Conn {
		conn := s.stage.connect(ctx, s.server, service)
		tell(step{kind: k, what: "connect to " + service.String(), open: conn != nil, want: want, why: why})
		return conn
	}
	if err := s.everybody(ctx, tell, "public: open to everybody, always"); err != nil {
		return err
	}
	hang(look(before, false, "no answer, as if nothing were there"))

	if err := s.stage.knock(ctx, s.server, s.door.Knocks...); err != nil {
		return err
	}
	tell(step{kind: action, what: "tirl knock " + list(s.door.Knocks)})
	first := look(opened, true, "the sequence was right")
	defer hang(first)
	if s.class.Once {
		hang(look(second, false, "one knock, one connection"))
	} else {
		hang(look(second, true, fmt.Sprintf("the door stays open for %v", s.class.OpenFor)))
		if s.class.OpenFor <= longestWait {
			if err := pause(ctx, s.class.OpenFor+100*time.Millisecond); err != nil {
				return err
			}
			hang(look(expired, false, "the time is over"))
		}
	}
	if first != nil && service.Proto == port.TCP {
		tell(step{kind: held, what: "use the first connection", open: talk(first), want: true, why: "what is open stays open"})
	}
	if !s.class.Once && s.class.OpenFor > longestWait {
		return s.everybody(ctx, tell, "untouched by all this")
	}

	bad := slices.Clone(s.door.Knocks)
	bad[len(bad)-1] = s.stray
	bad = append(bad, s.door.Knocks[len(bad)-1])
	if err := s.stage.knock(ctx, s.server, bad...); err != nil {
		return err
	}
	tell(step{kind: action, what: "tirl knock " + list(bad)})
	hang(look(wrong, false, "one wrong packet: back to the start"))

	took, err := s.stage.sweep(ctx, s.server)
	if err != nil {
		return err
	}
	tell(step{kind: action, what: fmt.Sprintf("sweep all 65535 UDP ports in order (%v)", took.Round(10*time.Millisecond))})
	hang(look(swept, false, "the right ports, but never without wrong ones"))
	return s.everybody(ctx, tell, "untouched by all this")
}

// everybody connects to the first public service, if there is one.
func (s *scene) everybody(ctx context.Context, tell func(step), why string) error {
	if len(s.public) > 0 {
		conn := s.stage.connect(ctx, s.server, s.public[0])
		tell(step{kind: public, what: "connect to " + s.public[0].String(), open: conn != nil, want: true, why: why})
		hang(conn)
	}
	return ctx.Err()
}

func hang(conn net.Conn) {
	if conn != nil {
		conn.Close()
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func list(knocks []port.Port) string {
	words := make([]string, len(knocks))
	for i, k := range knocks {
		words[i] = k.String()
	}
	return strings.Join(words, " ")
}
