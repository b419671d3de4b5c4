package policy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// manyDoors is a policy of n doors with four knocks each.
func manyDoors(n int) []byte {
	var b bytes.Buffer
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		fmt.Fprintf(&b, "[door.d%d]\nopens  = [\"tcp/22\"]\nknocks = [", i)
		for range 4 {
			fmt.Fprintf(&b, "\"udp/%d\", ", 1024+random.IntN(60000))
		}
		fmt.Fprintf(&b, "]\nfrom = [\"10.%d.%d.0/24\"]\n\n", i/256, i%256)
	}
	return b.Bytes()
}

func BenchmarkParse(b *testing.B) {
	text := manyDoors(10000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if p, ds := Parse("policy.toml", text); p == nil {
			b.Fatal(ds)
		}
	}
}

func BenchmarkFormat(b *testing.B) {
	text := manyDoors(10000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, ds := Format("policy.toml", text); ds.HasErrors() {
			b.Fatal(ds)
		}
	}
}

// Ten thousand doors take well below half a second. A busy machine is slow at
// times, but not every time.
func TestTenThousandDoors(t *testing.T) {
	const limit = slow * 400 * time.Millisecond
	text := manyDoors(10000)
	best := time.Hour
	for range 10 {
		start := time.Now()
		p, ds := Parse("policy.toml", text)
		best = min(best, time.Since(start))
		if p == nil || len(p.Doors) != 10000 {
			t.Fatal(ds)
		}
		if best <= limit {
			break
		}
	}
	if best > limit {
		t.Errorf("took %s, more than %s", best, limit)
	}
	t.Logf("%d bytes in %s", len(text), best)
}

// hostile are texts that cost more than linear time where a parser is careless,
// by their approximate size.
func hostile() map[string]func(size int) []byte {
	repeat := func(s string) func(int) []byte {
		return func(size int) []byte { return bytes.Repeat([]byte(s), size/len(s)) }
	}
	around := func(before, s, after string) func(int) []byte {
		return func(size int) []byte { return []byte(before + strings.Repeat(s, size/len(s)) + after) }
	}
	numbered := func(format string) func(int) []byte {
		return func(size int) []byte {
			var b bytes.Buffer
			for i := 0; b.Len() < size; i++ {
				fmt.Fprintf(&b, format, i)
			}
			return b.Bytes()
		}
	}
	return map[string]func(int) []byte{
		"one key":               repeat("mode = \"guard\"\n"),
		"one table":             repeat("[door.a]\n"),
		"one array table":       repeat("[[door]]\nx = 1\n"),
		"many keys":             numbered("k%d = 1\n"),
		"many tables":           numbered("[t%d]\n"),
		"many doors":            numbered("[door.d%d]\nopens = [\"tcp/22\"]\nknocks = [\"udp/1000\", \"udp/7719\", \"udp/28816\"]\n"),
		"many keys in a line":   around("x = {", "a = 1, ", "}\n"),
		"deep arrays":           repeat("["),
		"deep array value":      around("x = ", "[", ""),
		"deep tables":           around("x = ", "{a=", ""),
		"deep closed":           around("x = ", strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+"\nx = ", "1\n"),
		"dotted key":            around("a", ".a", " = 1\n"),
		"dotted header":         around("[a", ".a", "]\n"),
		"long key":              around("", "a", " = 1\n"),
		"long string":           around("mode = \"", "é", "\"\n"),
		"long line of mistakes": around("public = [", "1,", "]\n"),
		"long line of ports":    around("public = [", "\"tcp/80\",", "]\n"),
		"long line of nets":     around("trust = [", "\"10.0.0.1/8\",", "]\n"),
		"long knocks":           around("[door.a]\nknocks = [", "\"udp/1\",", "]\n"),
		"open strings":          repeat("a = \"\\\n"),
		"open string":           around("a = \"", "\\\"", "\n"),
		"open text":             repeat("a = \"\"\"\n"),
		"open arrays":           repeat("a = [\n"),
		"comments":              repeat("#\n"),
		"comments in array":     around("x = [", "# c\n", "]\n"),
		"comments after commas": around("x = [", "1, # c\n", "]\n"),
		"header and comments":   around("[a]\n\n", "# c\n\n", "[b]\n"),
		"quotes":                repeat("\""),
		"equals":                repeat("a = = \n"),
		"newlines":              repeat("\n"),
		"carriage returns":      repeat("\r"),
		"no text":               repeat("\x80"),
		"continuation bytes":    around("mode = \"", "\x80", "\"\n"),
		"aligned":               numbered(strings.Repeat("k", 39) + " = 1 # c\nk%d = 1 # c\n"),
		"one long among short":  around(strings.Repeat("k", 1<<16)+" = 1\n", "a = 1 # c\n", ""),
	}
}

// The time is linear: sixteen times as much text takes not much more than
// sixteen times as long. Quadratic time would take 256 times as long.
func TestLinearTime(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const small, factor = 1 << 15, 16
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			timeOf := func(text []byte) time.Duration {
				start := time.Now()
				p, ds := Parse("policy.toml", text)
				if p != nil && !strings.HasPrefix(name, "many doors") {
					t.Error("accepted")
				}
				var out bytes.Buffer
				if err := ds.Write(&out, Style{}); err != nil {
					t.Error(err)
				}
				if out.Len() > 1<<20 {
					t.Errorf("%d bytes of diagnostics", out.Len())
				}
				formatted, _ := Format("policy.toml", text)
				if len(formatted) > 64*len(text)+1024 {
					t.Errorf("%d bytes formatted of %d", len(formatted), len(text))
				}
				return time.Since(start)
			}
			timeOf(text(small))
			short, long := 2*time.Millisecond, time.Hour
			// A busy machine is slow at times, but not every time.
			for range 5 {
				short = max(short, timeOf(text(small)))
				if long = min(long, timeOf(text(factor*small))); long <= 5*factor*short {
					break
				}
			}
			if long > 5*factor*short {
				t.Errorf("%s for %d bytes, %s for %d", short, small, long, factor*small)
			}
			t.Logf("%s, %s", short, long)
		})
	}
}
