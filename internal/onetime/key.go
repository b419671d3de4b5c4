package onetime

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// Key is a file of the host with the secret of one user, and what its values
// depend on, as it was when the user was created.
type Key struct {
	Params
	Secret  Secret
	Created time.Time // UTC, whole seconds; for people
}

// keyFormat is the version of the file's format.
const keyFormat = "1"

// MaxKeySize bounds what is looked at as a key.
const MaxKeySize = 4096

// Format writes the file.
func (k Key) Format() []byte {
	var b bytes.Buffer
	b.WriteString("# A user's key of tirl. Whoever reads it can open the door, so nobody else may.\n")
	line := func(name, value string) { fmt.Fprintf(&b, "%-7s = %s\n", name, value) }
	line("format", keyFormat)
	line("kind", string(k.Kind))
	line("secret", k.Secret.Text())
	if k.Kind == policy.Sequence {
		line("first", k.First.String())
		line("length", strconv.Itoa(k.Length))
	}
	line("ports", port.Span{First: k.Lo, Last: k.Hi}.String())
	line("pool", strconv.Itoa(k.Pool))
	line("created", k.Created.UTC().Format(time.RFC3339))
	return b.Bytes()
}

// ParseKey reads the file. The name is for messages only. No error repeats what
// stands in the file.
func ParseKey(name string, text []byte) (Key, error) {
	var k Key
	if len(text) > MaxKeySize {
		return k, fmt.Errorf("%s: a key has %d bytes at most, not %d", name, MaxKeySize, len(text))
	}
	seen := map[string]int{}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		field, value, ok := strings.Cut(line, "=")
		field = strings.TrimSpace(field)
		read := keyFields()[field]
		switch {
		case !ok:
			return Key{}, fmt.Errorf("%s:%d: expected NAME = VALUE", name, number)
		case read == nil:
			return Key{}, fmt.Errorf("%s:%d: no key has such a line", name, number)
		case seen[field] > 0:
			return Key{}, fmt.Errorf("%s:%d: %s stands on line %d already", name, number, field, seen[field])
		}
		seen[field] = number
		if err := read(&k, strings.TrimSpace(value)); err != nil {
			return Key{}, fmt.Errorf("%s:%d: %s: %w", name, number, field, err)
		}
	}
	for _, field := range []string{"format", "kind", "secret", "ports", "pool", "created"} {
		if seen[field] == 0 {
			return Key{}, fmt.Errorf("%s: it has no line %s", name, field)
		}
	}
	return k, k.check(name, seen)
}

// check looks at what no line shows alone.
func (k *Key) check(name string, seen map[string]int) error {
	sequence := k.Kind == policy.Sequence
	for _, field := range []string{"first", "length"} {
		if sequence != (seen[field] > 0) {
			return fmt.Errorf("%s: a sequence has a line %s, and a token has none", name, field)
		}
	}
	if span := (port.Span{First: k.Lo, Last: k.Hi}); sequence && span.Size() < policy.MinPorts {
		return fmt.Errorf("%s:%d: ports: a sequence needs %d ports or more, not %d", name, seen["ports"], policy.MinPorts, span.Size())
	}
	return nil
}

// keyFields are the lines of a key.
func keyFields() map[string]func(*Key, string) error {
	return map[string]func(*Key, string) error{
		"format": func(_ *Key, s string) error {
			if s != keyFormat {
				return fmt.Errorf("this tirl reads format %s only", keyFormat)
			}
			return nil
		},
		"kind": func(k *Key, s string) error {
			k.Kind = policy.OneTime(s)
			if k.Kind != policy.Token && k.Kind != policy.Sequence {
				return fmt.Errorf("expected %s or %s", policy.Token, policy.Sequence)
			}
			return nil
		},
		"secret": func(k *Key, s string) (err error) {
			k.Secret, err = ParseSecret(s)
			return err
		},
		"first": func(k *Key, s string) (err error) {
			if k.First, err = port.Parse(s); err != nil {
				return fmt.Errorf("expected a port such as udp/40213")
			}
			return nil
		},
		"length": func(k *Key, s string) error { return bounded(&k.Length, s, policy.MinLength, policy.MaxLength) },
		"ports": func(k *Key, s string) error {
			span, err := port.ParseSpan(s)
			if err != nil {
				return fmt.Errorf("expected a range of ports such as 1024-65535")
			}
			k.Lo, k.Hi = span.First, span.Last
			return nil
		},
		"pool": func(k *Key, s string) error { return bounded(&k.Pool, s, policy.MinPool, policy.MaxPool) },
		"created": func(k *Key, s string) error {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil || !t.Equal(t.Truncate(time.Second)) {
				return fmt.Errorf("expected a time such as 2026-11-25T18:00:00Z")
			}
			k.Created = t.UTC()
			return nil
		},
	}
}

func bounded(to *int, text string, low, high int) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high || strconv.Itoa(n) != text {
		return fmt.Errorf("expected a number from %d to %d", low, high)
	}
	*to = n
	return nil
}
