package counter

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/port"
)

func ticket(start uint64) Ticket {
	return Ticket{onetime.Params{Kind: policy.Token, Lo: 1024, Hi: 65535, Pool: pool}, onetime.Secret{1, 2, 3}, start}
}

func mustOpen(t *testing.T, dir string, k Ticket) *Counter {
	t.Helper()
	c, err := Open(t.Context(), dir, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sent gives the numbers whose packets these are.
func number(t *testing.T, k Ticket, payload []byte) uint64 {
	t.Helper()
	for i := range uint64(1000) {
		if token, _ := k.Secret.Token(i, k.Params); string(token[:]) == string(payload) {
			return i
		}
	}
	t.Fatalf("%x is no token", payload)
	return 0
}

func another(t *testing.T, c *Counter) uint64 {
	t.Helper()
	v, err := c.Another()
	if err != nil {
		t.Fatal(err)
	}
	return number(t, c.Ticket, v.Payload)
}

// What is on the wire is on the disk before; what a connection has confirmed is
// never sent first again; and what may be live is sent once more even by the process
// after the next.
func TestCounter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "one-time")
	c := mustOpen(t, dir, ticket(3))
	for _, want := range []uint64{3, 3, 4, 16, 32, 3} {
		if got := another(t, c); got != want {
			t.Errorf("sent %d, want %d", got, want)
		}
	}
	c.Close() // as a process that was killed
	c = mustOpen(t, dir, ticket(3))
	another(t, c)
	if left, err := c.Opened(); err != nil || len(left) != 4 {
		t.Errorf("%d are to be sent again, %v", len(left), err)
	}
	c.Close() // before it has done so
	c = mustOpen(t, dir, ticket(3))
	if c.Copied {
		t.Error("it was not copied")
	}
	if got := another(t, c); got != 5 {
		t.Errorf("sent %d after 3 and 4", got)
	}
	left, err := c.Opened()
	if err != nil || len(left) != 5 || number(t, c.Ticket, left[4].Payload) != 3 {
		t.Errorf("%d are to be sent again, %v", len(left), err)
	}
	if err := c.Swept(); err != nil {
		t.Error(err)
	}
	c.Close()
	c = mustOpen(t, dir, ticket(3))
	if len(c.Left) > 0 || c.Next[0] != 6 {
		t.Errorf("%+v", c.State)
	}
	// A newer entry of the hosts file takes it on, and an older one not back.
	c.Close()
	for _, start := range []uint64{64, 3} {
		c = mustOpen(t, dir, ticket(start))
		if got := another(t, c); got != 64 {
			t.Errorf("start %d: sent %d", start, got)
		}
		c.Close()
	}
	// By hand, without a trace if it was wrong.
	c = mustOpen(t, dir, ticket(3))
	c.FromBlock(9)
	if got := another(t, c); got != 9*pool {
		t.Errorf("sent %d", got)
	}
	c.Close()
	if c = mustOpen(t, dir, ticket(3)); another(t, c) != 64 {
		t.Errorf("%+v", c.State)
	}
	info, err := os.Stat(c.file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOpenedByHand(t *testing.T) {
	dir := t.TempDir()
	c := mustOpen(t, dir, ticket(0))
	if _, err := c.Opened(); !errors.Is(err, ErrNothingSent) {
		t.Errorf("nothing was sent: %v", err)
	}
	for range 2 {
		if _, err := c.Unseen(true); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	c = mustOpen(t, dir, ticket(0))
	if left, err := c.Opened(); err != nil || len(left) != 2 || c.Next[0] != 2 {
		t.Errorf("%d, %v, %+v", len(left), err, c.State)
	}
	if _, err := c.Opened(); !errors.Is(err, ErrNothingSent) {
		t.Errorf("a second time: %v", err)
	}
}

// A copy, or a state that was restored from one, is noticed once.
func TestCopied(t *testing.T) {
	here, there := t.TempDir(), t.TempDir()
	c := mustOpen(t, here, ticket(0))
	another(t, c)
	c.Close()
	text, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(there, filepath.Base(c.file)), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		c = mustOpen(t, there, ticket(0))
		if c.Copied != want {
			t.Errorf("copied: %v, want %v", c.Copied, want)
		}
		another(t, c)
		c.Close()
	}
}

func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, ticket(0).Secret.ID()+".json")
	for _, text := range []string{"", "{", `{"format":2,"next":[1]}`, `{"format":1,"next":[]}`, `{"format":1}`, `{"format":1,"next":[-1]}`, strings.Repeat(" ", maxRecord+1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if c, err := Open(t.Context(), dir, ticket(0), nil); err == nil {
			t.Errorf("%.40q: %+v", text, c.State)
			c.Close()
		} else if _, ok := errors.AsType[*DamagedError](err); !ok {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	// A crash before the file was in place leaves the old one.
	if err := os.WriteFile(file, []byte(`{"format":1,"next":[7],"place":""}`), 0o600); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "."+filepath.Base(file)+".1.tmp")
	if err := os.WriteFile(left, []byte(`{"format":1,"ne`), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := mustOpen(t, dir, ticket(0)); another(t, c) != 7 {
		t.Errorf("%+v", c.State)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a crash has left is still there")
	}
	if c, err := Open(t.Context(), filepath.Join(file, "below"), ticket(0), nil); err == nil {
		t.Errorf("no place for it: %+v", c)
	}
}

// Of many processes each has numbers of its own.
func TestOneAtATime(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			c, err := Open(t.Context(), dir, ticket(0), nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			another(t, c)
			if _, err := c.Opened(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	c := mustOpen(t, dir, ticket(0))
	if c.Next[0] != 8 {
		t.Errorf("%+v", c.State)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, dir, ticket(0), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another has it: %v", err)
	}
}

func TestVolley(t *testing.T) {
	k := Ticket{onetime.Params{Kind: policy.Sequence, First: port.Port{Proto: port.UDP, Number: 40213}, Length: 6, Lo: 1024, Hi: 65535, Pool: pool}, onetime.Secret{1}, 0}
	if v := k.Volley(5); len(v.Knocks) != 6 || v.Knocks[0].Number != 40213 || v.Payload != nil {
		t.Errorf("%+v", v)
	}
	if v := ticket(0).Volley(5); len(v.Knocks) != 1 || len(v.Payload) != 16 {
		t.Errorf("%+v", v)
	}
}

// FuzzRecord: whatever is in the file, it is an error, or a state to go on with.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"format":1,"next":[7,33],"tries":3,"sent":[7],"left":[5,6],"last":7,"place":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parse(text)
		if err != nil {
			return
		}
		if len(r.Candidates(pool)) > maxCandidates {
			t.Errorf("%d", r.Candidates(pool))
		}
		r.Confirm(r.order(pool)[0], pool)
	})
}
