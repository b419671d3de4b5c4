package onetime

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/policy"
	"tirl/internal/port"
)

var update = flag.Bool("update", false, "write spec/one-time anew")

// vectorFile is a file of spec/one-time.
type vectorFile struct {
	About   []string     `json:"about"`
	Vectors []testVector `json:"vectors"`
}

type testVector struct {
	Inputs  inputs  `json:"inputs"`
	Outputs outputs `json:"outputs"`
}

type inputs struct {
	Secret string     `json:"secret_hex"`
	Kind   string     `json:"one_time"`
	First  string     `json:"first,omitempty"`
	Length int        `json:"length,omitempty"`
	Ports  [2]uint16  `json:"ports"`
	Number jsonNumber `json:"number"`
}

// jsonNumber is a string in JSON, since many languages read numbers there as
// floating point, which has no room for 64 bits.
type jsonNumber uint64

func (n jsonNumber) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(n), 10), nil }

func (n *jsonNumber) UnmarshalText(text []byte) (err error) {
	*(*uint64)(n), err = strconv.ParseUint(string(text), 10, 64)
	return err
}

type outputs struct {
	ID     string   `json:"id"`
	Token  string   `json:"token_hex,omitempty"`
	Port   uint16   `json:"port,omitempty"`
	Knocks []string `json:"knocks,omitempty"`
}

func compute(t *testing.T, in inputs) outputs {
	t.Helper()
	var s Secret
	raw, err := hex.DecodeString(in.Secret)
	if err != nil || copy(s[:], raw) != len(s) || len(raw) != len(s) {
		t.Fatalf("secret %s", in.Secret)
	}
	p := Params{Kind: policy.OneTime(in.Kind), Length: in.Length, Lo: in.Ports[0], Hi: in.Ports[1]}
	out := outputs{ID: s.ID()}
	if p.Kind == policy.Token {
		token, to := s.Token(uint64(in.Number), p)
		out.Token, out.Port = hex.EncodeToString(token[:]), to
		return out
	}
	if p.First, err = port.Parse(in.First); err != nil {
		t.Fatal(err)
	}
	for _, k := range s.Sequence(uint64(in.Number), p) {
		out.Knocks = append(out.Knocks, k.String())
	}
	return out
}

func TestVectors(t *testing.T) {
	for _, kind := range []string{"token", "sequence"} {
		file := filepath.Join("..", "..", "spec", "one-time", kind+".json")
		if *update {
			write(t, file, kind)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var f vectorFile
		if err := json.Unmarshal(text, &f); err != nil {
			t.Fatal(err)
		}
		if len(f.Vectors) < 20 {
			t.Errorf("%s: %d vectors only", kind, len(f.Vectors))
		}
		for i, v := range f.Vectors {
			if v.Inputs.Kind != kind {
				t.Errorf("%s: vector %d is a %s", kind, i, v.Inputs.Kind)
			}
			if diff := cmp.Diff(v.Outputs, compute(t, v.Inputs)); diff != "" {
				t.Errorf("%s: vector %d (-want +got):\n%s", kind, i, diff)
			}
		}
	}
}

// write makes a file of test vectors.
func write(t *testing.T, file, kind string) {
	t.Helper()
	about := []string{
		"Test vectors of tirl's one-time " + kind + "s, version 1. docs/one-time.md says how they are derived.",
		"inputs: secret_hex (32 bytes), one_time, ports (lowest and highest UDP port), number (decimal, in quotes: up to 2^64-1)",
	}
	if kind == "token" {
		about = append(about, "outputs: id (of the secret), token_hex (the whole payload, 16 bytes), port (that the datagram goes to)")
	} else {
		about[1] += ", first (knock 1), length (knocks in all)"
		about = append(about, "outputs: id (of the secret), knocks (in order, the first one included)")
	}
	f := vectorFile{About: about}
	spans := [][2]uint16{{1024, 65535}, {1, 65535}, {40000, 41023}}
	if kind == "token" {
		spans = append(spans, [2]uint16{53, 53})
	}
	secrets := []string{
		strings.Repeat("00", 32), strings.Repeat("ff", 32),
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	}
	for i, secret := range secrets {
		for k, number := range []jsonNumber{0, 1, 255, 256, 1<<32 - 1, 1 << 32, 1<<64 - 1} {
			in := inputs{Secret: secret, Kind: kind, Ports: spans[(i+k)%len(spans)], Number: number}
			if kind == "sequence" {
				in.First, in.Length = []string{"udp/40213", "tcp/7719"}[k%2], policy.MinLength+(i+k)%(policy.MaxLength-policy.MinLength+1)
			}
			f.Vectors = append(f.Vectors, testVector{in, compute(t, in)})
		}
	}
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
