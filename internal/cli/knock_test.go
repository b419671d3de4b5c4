package cli

import (
	"slices"
	"strings"
	"testing"

	"tirl/internal/policy"
	"tirl/internal/port"
)

// FuzzKnockArguments reads what follows the host: ports, and doors of an entry.
// What is accepted are knocks that can be sent, each as it was written.
func FuzzKnockArguments(f *testing.F) {
	ssh := policy.Door{Name: "ssh", Knocks: []port.Port{{Proto: port.UDP, Number: 1}, {Proto: port.TCP, Number: 2}}, Once: true}
	remote := policy.Remote{Name: "host", Doors: []policy.Door{ssh}}
	f.Add("udp/12345\x00tcp/1\x00ssh")
	f.Add("ssh")
	f.Add("udp/0\x00")
	f.Add("tcp/22-23\x00udp/65536")
	f.Fuzz(func(t *testing.T, args string) {
		what := strings.Split(args, "\x00")
		knocks, once, err := (&app{}).knocks(remote, what, "", "")
		if err != nil {
			return
		}
		var want []string
		for _, w := range what {
			if w == ssh.Name {
				want = append(want, "udp/1", "tcp/2")
			} else {
				want = append(want, w)
			}
		}
		var got []string
		for _, k := range knocks {
			got = append(got, k.String())
		}
		if !slices.Equal(got, want) || once != slices.Contains(what, ssh.Name) {
			t.Fatalf("%q gives %q, once %v", what, got, once)
		}
		if p, err := verifyPort(what[0]); err == nil && what[0] != "" && p.Proto != port.TCP {
			t.Fatalf("%q can be verified", what[0])
		}
	})
}
