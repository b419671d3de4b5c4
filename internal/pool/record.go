package pool

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tirl/internal/onetime"
	"tirl/internal/policy"
)

// Range is the numbers from From up to, but not, To. Serial is that of From in
// the kernel, if they are sequences; those behind it follow. Tokens have 0.
type Range struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`
	Serial uint32 `json:"serial,omitempty"`
}

// Len counts the numbers.
func (r Range) Len() uint64 { return r.To - r.From }

// sound refuses what no pool can be.
func (r Range) sound() bool { return r.From < r.To && r.Len() <= policy.MaxPool }

// serial is that of a number.
func (r Range) serial(number uint64) uint32 {
	if r.Serial == 0 {
		return 0
	}
	return r.Serial + uint32(number-r.From)
}

// Use is one value that was spent.
type Use struct {
	Number  uint64       `json:"number"`
	Sources []netip.Addr `json:"sources"` // that sent it, as the kernel remembers; mostly one
	Seen    time.Time    `json:"seen"`    // when a refill found it
}

// recordFormat numbers the layout of a record, for a later tirl.
const recordFormat = 1

// mostUses is how many uses a record keeps.
const mostUses = 16

// Record is what a host knows of the values of one secret.
type Record struct {
	Format int    `json:"format"`
	ID     string `json:"id"` // of the secret
	Door   string `json:"door"`
	User   string `json:"user"`
	// Number is the user's in the kernel, and Params are what the values that are live
	// were made with.
	Number uint32         `json:"user_id"`
	Params onetime.Params `json:"params"`
	// Next is the first number that no kernel ever held.
	Next uint64 `json:"next"`
	// Boot and Marker name the pool that Live is in: the run of the kernel, and what
	// the pool is marked with.
	Boot   string  `json:"boot_id"`
	Marker uint32  `json:"marker"`
	Live   []Range `json:"live"` // ascending
	// Serials is the first serial that this user has not had of the marker's pool.
	Serials uint32 `json:"serials,omitempty"`
	// Skipped counts the numbers right before Next that are not live, and never will be.
	Skipped uint64 `json:"skipped,omitempty"`
	// Used is one more than the highest number that was spent.
	Used   uint64 `json:"used"`
	Uses   []Use  `json:"uses"`   // the last of them
	Losses int    `json:"losses"` // of the pool, since the last use
	// Retired is when the secret was revoked. It is never used again.
	Retired *time.Time `json:"retired,omitempty"`
}

func (r Record) clone() Record {
	r.Live, r.Uses = slices.Clone(r.Live), slices.Clone(r.Uses)
	return r
}

// Count is how many values are live.
func (r *Record) Count() int {
	n := uint64(0)
	for _, l := range r.Live {
		n += l.Len()
	}
	return int(n)
}

// Has says whether a number is live.
func (r *Record) Has(number uint64) bool {
	return slices.ContainsFunc(r.Live, func(l Range) bool { return l.From <= number && number < l.To })
}

// Start is the lowest number with which a client can begin.
func (r *Record) Start() uint64 {
	if len(r.Live) > 0 {
		return r.Live[0].From
	}
	return r.Next
}

// candidates are what a client tries that has used what was spent, and nothing else.
func (r *Record) candidates() []uint64 {
	if r.Used == 0 {
		return onetime.Candidates(0, r.Params.Pool)
	}
	return onetime.Candidates(onetime.After(r.Used-1, r.Params.Pool), r.Params.Pool)
}

// Reachable says whether such a client tries a number that is live.
func (r *Record) Reachable() bool { return slices.ContainsFunc(r.candidates(), r.Has) }

// AtRisk says that it will not any more when the pool is lost once more.
func (r *Record) AtRisk() bool {
	return !slices.Contains(r.candidates(), roundUp(r.Next, uint64(r.Params.Pool)))
}

// roundUp gives the first number of the block that begins at n or behind it.
func roundUp(n, pool uint64) uint64 { return (n + pool - 1) / pool * pool }

// cut takes numbers out of ranges, and gives what is left and what it took.
func cut(ranges []Range, from, to uint64) (left, taken []Range) {
	for _, r := range ranges {
		add := func(to *[]Range, a, b uint64) {
			if a < b {
				*to = append(*to, Range{a, b, r.serial(a)})
			}
		}
		add(&left, r.From, min(r.To, from))
		add(&taken, max(r.From, from), min(r.To, to))
		add(&left, max(r.From, to), r.To)
	}
	return left, taken
}

// extend adds a number behind all others.
func extend(ranges []Range, number uint64, serial uint32) []Range {
	if n := len(ranges); n > 0 {
		if last := &ranges[n-1]; last.To == number && last.serial(number) == serial {
			last.To++
			return ranges
		}
	}
	return append(ranges, Range{number, number + 1, serial})
}

func recordName(id string) string { return usersArea + "/" + id + ".json" }

// ReadRecord gives what is known of a secret; nil if it was never used.
func ReadRecord(s Store, id string) (*Record, error) {
	text, err := s.Read(recordName(id))
	switch {
	case missing(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", recordName(id), err)
	}
	if err := r.sound(id); err != nil {
		return nil, fmt.Errorf("%s: %w", recordName(id), err)
	}
	return &r, nil
}

// sound refuses a record that could bring a number back.
func (r *Record) sound(id string) error {
	if r.Format != recordFormat {
		return fmt.Errorf("it has the format %d, not %d", r.Format, recordFormat)
	}
	if r.ID != id {
		return fmt.Errorf("it is of another secret")
	}
	last := uint64(0)
	for _, l := range r.Live {
		if l.From < last || !l.sound() || l.To > r.Next {
			return fmt.Errorf("its ranges are out of order")
		}
		last = l.To
	}
	if len(r.Live) > 0 && r.Params.Pool <= 0 {
		return fmt.Errorf("it does not say how large a pool is")
	}
	return nil
}

func (r *Record) write(s Store) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.Write(recordName(r.ID), append(text, '\n'))
}

// Records reads those of all secrets, also of users that are gone. One that
// cannot be read is an error of its own.
func Records(s Store) (all []*Record, problems []error, err error) {
	names, err := s.List(usersArea)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		id, ok := strings.CutSuffix(name, ".json")
		if !ok {
			continue
		}
		switch r, err := ReadRecord(s, id); {
		case err != nil:
			problems = append(problems, err)
		case r != nil:
			all = append(all, r)
		}
	}
	return all, problems, nil
}

// mark is the second place of Record.Next, beside the key.
type mark struct {
	id   string // of the key that it belongs to; empty: there is no mark
	next uint64
}

func markName(door, user string) string { return KeyName(door, user) + ".next" }

// readMark gives the mark of a secret. One of an older secret of the same user
// does not count.
func readMark(s Store, door, user, id string) (mark, error) {
	name := markName(door, user)
	text, err := s.Read(name)
	switch {
	case missing(err):
		return mark{}, nil
	case err != nil:
		return mark{}, err
	}
	m, err := parseMark(text)
	if err != nil {
		return mark{}, fmt.Errorf("%s: %w", name, err)
	}
	if m.id != id {
		return mark{}, nil
	}
	return m, nil
}

func parseMark(text []byte) (mark, error) {
	id, number, ok := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	next, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || id == "" {
		return mark{}, fmt.Errorf("expected the id of a key and a number")
	}
	return mark{id, next}, nil
}

func (m mark) write(s Store, door, user string) error {
	return s.Write(markName(door, user), fmt.Appendf(nil, "%s %d\n", m.id, m.next))
}
