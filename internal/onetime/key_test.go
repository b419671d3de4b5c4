package onetime

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tirl/internal/policy"
	"tirl/internal/port"
)

const sequenceKey = `# A user's key of tirl. Whoever reads it can open the door, so nobody else may.
format  = 1
kind    = sequence
secret  = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
first   = udp/40213
length  = 6
ports   = 1024-65535
pool    = 256
created = 2026-11-25T18:00:00Z
`

func theKey() Key {
	k := Key{
		Params:  Params{Kind: policy.Sequence, First: port.Port{Proto: port.UDP, Number: 40213}, Length: 6, Lo: 1024, Hi: 65535, Pool: 256},
		Created: time.Date(2026, 11, 25, 18, 0, 0, 0, time.UTC),
	}
	for i := range k.Secret {
		k.Secret[i] = byte(i)
	}
	return k
}

func TestKey(t *testing.T) {
	if diff := cmp.Diff(sequenceKey, string(theKey().Format())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got, err := ParseKey("k", []byte("\n  # x\r\n"+strings.ReplaceAll(sequenceKey, "\n", "\r\n")))
	if err != nil || got != theKey() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKeyRefuses(t *testing.T) {
	for _, test := range []struct{ old, replacement, want string }{
		{"format  = 1", "format = 2", "k:2: format: this tirl reads format 1 only"},
		{"format  = 1\n", "", "k: it has no line format"},
		{"kind    = sequence", "kind = totp", "k:3: kind: expected token or sequence"},
		{"kind    = sequence", "kind = token", "k: a sequence has a line first, and a token has none"},
		{"first   = udp/40213\n", "", "k: a sequence has a line first, and a token has none"},
		{"AAEC", "AAE*", "k:4: secret: a secret is 32 bytes in base64: this is no base64"},
		{"AAEC", "", "k:4: secret: a secret is 32 bytes in base64: this is 29 bytes"},
		{"Hh8=", "Hh9=", "k:4: secret: a secret is 32 bytes in base64: this is no base64"},
		{"udp/40213", "40213", "k:5: first: expected a port such as udp/40213"},
		{"= 6", "= 10", "k:6: length: expected a number from 4 to 9"},
		{"= 6", "= +6", "k:6: length: expected a number from 4 to 9"},
		{"1024-", "0-", "k:7: ports: expected a range of ports such as 1024-65535"},
		{"1024-", "65000-", "k:7: ports: a sequence needs 1024 ports or more, not 536"},
		{"= 256", "= 1", "k:8: pool: expected a number from 16 to 4096"},
		{"18:00:00Z", "18:00:00.5Z", "k:9: created: expected a time such as 2026-11-25T18:00:00Z"},
		{"created", "pool", "k:9: pool stands on line 8 already"},
		{"created", "expires", "k:9: no key has such a line"},
		{"created =", "created", "k:9: expected NAME = VALUE"},
		{"# A", strings.Repeat("#", MaxKeySize) + "A", "k: a key has 4096 bytes at most, not 4358"},
	} {
		if !strings.Contains(sequenceKey, test.old) {
			t.Fatalf("%q is not in the key", test.old)
		}
		_, err := ParseKey("k", []byte(strings.Replace(sequenceKey, test.old, test.replacement, 1)))
		if err == nil || err.Error() != test.want {
			t.Errorf("%q for %q: %v, want %s", test.replacement, test.old, err, test.want)
		}
	}
}

// A key is read as it was written.
func TestKeyProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := Key{Created: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "created"), 0).UTC()}
		copy(k.Secret[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret"))
		k.Pool = rapid.IntRange(policy.MinPool, policy.MaxPool).Draw(t, "pool")
		k.Lo = rapid.Uint16Range(1, 60000).Draw(t, "lo")
		k.Kind, k.Hi = policy.Token, rapid.Uint16Min(k.Lo).Draw(t, "hi")
		if rapid.Bool().Draw(t, "sequence") {
			k.Kind, k.Hi = policy.Sequence, rapid.Uint16Min(k.Lo+policy.MinPorts-1).Draw(t, "hi")
			k.First = port.Port{Proto: port.TCP, Number: rapid.Uint16Min(1).Draw(t, "first")}
			k.Length = rapid.IntRange(policy.MinLength, policy.MaxLength).Draw(t, "length")
		}
		if got, err := ParseKey("k", k.Format()); err != nil || got != k {
			t.Fatalf("%+v, %v, want %+v", got, err, k)
		}
	})
}

// FuzzParseKey: no panic, no secret in an error, and what is read can be written
// and read again.
func FuzzParseKey(f *testing.F) {
	f.Add([]byte(sequenceKey))
	f.Add([]byte(strings.NewReplacer("sequence", "token", "first   = udp/40213\n", "", "length  = 6\n", "").Replace(sequenceKey)))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := ParseKey("k", text)
		if err != nil {
			if strings.Contains(err.Error(), "AAEC") {
				t.Errorf("%v shows the secret", err)
			}
			return
		}
		if again, err := ParseKey("k", k.Format()); err != nil || again != k {
			t.Errorf("%+v, %v, want %+v", again, err, k)
		}
	})
}
