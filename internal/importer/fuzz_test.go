package importer

import (
	"testing"

	"tirl/internal/knockd"
	"tirl/internal/port"
)

// FuzzKnockd: whatever knockd accepts becomes a sound policy, whose doors let in
// by the sections' own knocks only.
func FuzzKnockd(f *testing.F) {
	configs(f, func(_ string, text []byte) { f.Add(text) })
	f.Fuzz(func(t *testing.T, text []byte) {
		config, found := knockd.Parse("knockd.conf", text)
		if config == nil {
			if !found.HasErrors() {
				t.Fatal("refused without a reason")
			}
			return
		}
		r := Knockd("knockd.conf", config, nil)
		sound(t, r)
		if r.Policy == nil {
			return
		}
		sequences := map[string]bool{}
		for _, d := range config.Doors {
			sequences[key(d.Ports())] = true
		}
		for _, d := range r.Policy.Doors {
			if !sequences[key(d.Knocks)] {
				t.Fatalf("no section has the knocks of door %s", d.Name)
			}
		}
	})
}

func key(ports []port.Port) (s string) {
	for _, p := range ports {
		s += p.String() + " "
	}
	return s
}
