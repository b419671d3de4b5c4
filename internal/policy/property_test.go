package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	toml "github.com/pelletier/go-toml/v2"
	"pgregory.net/rapid"

	"tirl/internal/port"
)

// sloppyText draws texts that are nearly policies: lines that policies have, in
// any order, with mistakes between.
func sloppyText(t *rapid.T) string {
	keys := []string{"version", "mode", "public", "trust", "opens", "knocks", "open_for", "from", "x", "a.b", "door.a.opens",
		`"quoted key"`, "'l'", "step_timeout", "sources", "knocking", "knocking.sources", "firewall", "log", "log.events"}
	scalars := []string{"1", `"tcp/22"`, `"udp/7000"`, `"udp/40213"`, `'udp/1-5'`, `"10.0.0.0/8"`, `"once"`, `"10s"`, `"guard"`, `"firewall"`,
		"true", "inf", "0x1F", "guard", `"é\u00e9\t"`, `"""a` + "\nb\"\"\"", "'''\nc'''", `"esp"`, `"iface:wg0"`, "{}", "{ a = 1, b = [2] }", "[[1], 2]", "\"open", "{ a = 1, a = 2 }"}
	scalar := rapid.SampledFrom(scalars)
	space := rapid.SampledFrom([]string{"", " ", " ", "\t", "  "})
	comment := rapid.SampledFrom([]string{"", "", "", "# c", " # é ", "#"})
	value := func() string {
		switch rapid.IntRange(0, 3).Draw(t, "kind of value") {
		case 0, 1:
			return scalar.Draw(t, "scalar")
		case 2:
			return "[" + strings.Join(rapid.SliceOfN(scalar, 0, 12).Draw(t, "array"), ", ") + "]"
		}
		var b strings.Builder
		b.WriteString("[" + comment.Draw(t, "comment") + "\n")
		for range rapid.IntRange(0, 4).Draw(t, "elements") {
			b.WriteString(space.Draw(t, "space") + scalar.Draw(t, "scalar") + space.Draw(t, "space"))
			b.WriteString(rapid.SampledFrom([]string{",", ", ", ",\n", " # d\n,", ", # e\n# f\n"}).Draw(t, "comma"))
		}
		return b.String() + "]"
	}
	var b strings.Builder
	for range rapid.IntRange(0, 12).Draw(t, "lines") {
		switch rapid.IntRange(0, 9).Draw(t, "kind of line") {
		case 0:
			b.WriteString(rapid.SampledFrom([]string{"[door.a]", "[door.b]", "[ door . 'c' ]", "[knocking]", "[log]", "[x]", "[a.b]", "[door]", "[a"}).Draw(t, "table"))
		case 1:
			b.WriteString(comment.Draw(t, "comment"))
		case 2:
		default:
			b.WriteString(space.Draw(t, "space") + rapid.SampledFrom(keys).Draw(t, "key") + space.Draw(t, "space") + "=" + space.Draw(t, "space") + value())
		}
		b.WriteString(space.Draw(t, "space") + comment.Draw(t, "comment"))
		b.WriteString(rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\n\n\n"}).Draw(t, "end"))
	}
	return b.String()
}

func TestParseProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := []byte(sloppyText(rt))
		checkParse(t, text)
		_, ds := Parse("policy.toml", text)
		checkAgainstLibrary(t, text, ds)
		if t.Failed() {
			rt.Fatalf("text:\n%s", text)
		}
	})
}

// The tables are read as the library reads them: the same texts are TOML.
func TestDocumentProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := sloppyText(rt)
		r := newReporter(newSource("policy.toml", []byte(text)))
		readDocument(r)
		var any map[string]any
		err := toml.Unmarshal([]byte(text), &any)
		if r.hasErrors() != (err != nil) {
			rt.Fatalf("%v, but go-toml says: %v\n%s", r.list, err, text)
		}
	})
}

func TestFormatProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := []byte(sloppyText(rt))
		checkFormat(t, text)
		if t.Failed() {
			rt.Fatalf("text:\n%s", text)
		}
	})
}

// smallPolicy draws doors with few different ports, so that they collide.
func smallPolicy(t *rapid.T) *Policy {
	proto := rapid.SampledFrom([]port.Proto{port.TCP, port.UDP})
	rangeOf := rapid.Custom(func(t *rapid.T) port.Range {
		first := rapid.Uint16Range(1, 12).Draw(t, "first") * 100
		return port.Range{Proto: proto.Draw(t, "proto"), First: first, Last: first + rapid.Uint16Range(0, 2).Draw(t, "more")*100}
	})
	knock := rapid.Custom(func(t *rapid.T) port.Port {
		return port.Port{Proto: proto.Draw(t, "proto"), Number: rapid.Uint16Range(1, 15).Draw(t, "number") * 100}
	})
	p := &Policy{}
	p.Public.Services = rapid.SliceOfN(rangeOf, 0, 2).Draw(t, "public")
	for i := range rapid.IntRange(1, 4).Draw(t, "doors") {
		p.Doors = append(p.Doors, Door{
			Name:   fmt.Sprintf("d%d", i),
			Opens:  rapid.SliceOfN(rangeOf, 1, 2).Draw(t, "opens"),
			Knocks: rapid.SliceOfN(knock, 2, 4).Draw(t, "knocks"),
		})
	}
	return p
}

func (p *Policy) text() string {
	list := func(n int, at func(int) fmt.Stringer) string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprintf("%q", at(i))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "public = %s\n", list(len(p.Public.Services), func(i int) fmt.Stringer { return p.Public.Services[i] }))
	for _, d := range p.Doors {
		fmt.Fprintf(&b, "[door.%s]\nopens = %s\nknocks = %s\n", d.Name,
			list(len(d.Opens), func(i int) fmt.Stringer { return d.Opens[i] }),
			list(len(d.Knocks), func(i int) fmt.Stringer { return d.Knocks[i] }))
	}
	return b.String()
}

// refused says in the plainest way whether a policy of smallPolicy has to be
// refused.
func refused(p *Policy) bool {
	overlap := func(a, b port.Range) bool { return a.Proto == b.Proto && a.First <= b.Last && b.First <= a.Last }
	var services []port.Range
	for i, d := range p.Doors {
		for j, r := range d.Opens {
			for k := range j {
				if overlap(d.Opens[k], r) {
					return true
				}
			}
			for _, public := range p.Public.Services {
				if overlap(r, public) {
					return true
				}
			}
		}
		services = append(services, d.Opens...)
		for j, other := range p.Doors {
			if i != j && startsWith(other.Knocks, d.Knocks) {
				return true
			}
		}
		same := true
		for _, k := range d.Knocks {
			same = same && k.Number == d.Knocks[0].Number
		}
		if same { // the only constant step up to 16 among multiples of 100
			return true
		}
	}
	for _, d := range p.Doors {
		for _, k := range d.Knocks {
			in := func(r port.Range) bool { return r.Contains(k) }
			if slices.ContainsFunc(services, in) || slices.ContainsFunc(p.Public.Services, in) {
				return true
			}
		}
	}
	return false
}

func TestCheckProperty(t *testing.T) {
	accepted := 0
	rapid.Check(t, func(rt *rapid.T) {
		p := smallPolicy(rt)
		_, ds := Parse("policy.toml", []byte(p.text()))
		if ds.HasErrors() != refused(p) {
			rt.Fatalf("errors: %v\n%s", ds, p.text())
		}
		if !ds.HasErrors() {
			accepted++
		}
	})
	if accepted == 0 {
		t.Error("no policy was accepted")
	}
}
