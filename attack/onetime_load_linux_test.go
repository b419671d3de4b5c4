package attack

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/policy"
	"tirl/internal/sample"
)

// crowded is a door that knocks open and many users of both kinds have.
func crowded(users int) string {
	var b strings.Builder
	b.WriteString(strings.Replace(oneDoor, `"30s"`, `"1h"`, 1))
	for i := range users {
		kind := policy.Token
		if i%2 == 1 {
			kind = policy.Sequence
		}
		fmt.Fprintf(&b, "[door.ssh.users.u%d]\none_time = %q\n", i, kind)
		if kind == policy.Sequence {
			fmt.Fprintf(&b, "first = \"udp/%d\"\n", 10000+i)
		}
	}
	return b.String() + "[knocking]\nstep_timeout = \"10m\"\n"
}

// TestOneTimeLoadDisturbsNothing: while values of many users are loaded and taken out
// again, knocks open, whoever is half-way goes on, and grants and sessions last.
func TestOneTimeLoadDisturbsNothing(t *testing.T) {
	t.Parallel()
	s := users(t, crowded(20), 1)
	early, halfway := lab.Forged4(1), lab.Forged4(2)
	s.send(early, s.knocks(0)...)
	session := s.connect(early, service)
	if session == nil {
		t.Fatal("the door does not open")
	}
	s.send(halfway, s.knocks(0)[:2]...)
	all := sample.Values(s.g, 256)
	rest := slices.DeleteFunc(slices.Clone(all), func(v automaton.Value) bool { return v.Number == 0 })
	done := make(chan error)
	go func() {
		err := s.pool.LoadValues(t.Context(), s.g, rest)
		if err == nil {
			err = s.pool.Drop(t.Context(), s.g, rest[:len(rest)/2])
		}
		done <- err
	}()
	tried := 0
	for loading := true; loading; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			loading = false
		default:
		}
		src := families(10 + tried)[tried%2]
		tried++
		if s.send(src, s.knocks(0)...); !s.getsIn(src, service) {
			t.Errorf("source %d knocked in vain while values were loaded", tried)
		}
	}
	s.send(halfway, s.knocks(0)[2])
	if !s.getsIn(halfway, service) {
		t.Error("who was half-way did not get in")
	}
	if !s.alive(session) || !s.getsIn(early, service) {
		t.Error("a session or a grant was lost")
	}
	late := lab.Forged6(5000)
	if s.use(late, rest[len(rest)-1]); !s.getsIn(late, service) {
		t.Error("the value that was loaded last opens nothing")
	}
	t.Logf("%d values were loaded, and half of them taken out, while %d sources came in", len(rest), tried)
}
