package vector

import (
	"fmt"
	"strings"

	"golang.org/x/tools/txtar"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/sample"
	"tirl/internal/trace"
)

// Write makes a vector of a policy's text and of packets, with what the reference
// interpreter makes of them. Backends are those that can carry the policy; nil
// stands for all. The comment is the header's text.
func Write(comment string, backends []string, source string, packets []automaton.Packet) ([]byte, error) {
	p, found := policy.Parse("policy.toml", []byte(source))
	if found.HasErrors() {
		return nil, fmt.Errorf("write a vector: %v", found)
	}
	g, err := automaton.Compile(p)
	if err != nil {
		return nil, fmt.Errorf("write a vector: %w", err)
	}
	v := Vector{Program: g, Values: sample.Values(g, sample.Live)}
	in := v.interpreter()
	t := trace.New(packets)
	lines := strings.Split(strings.TrimSuffix(t.String(), "\n"), "\n")
	for i, packet := range packets {
		live := v.live(in)
		out := in.Packet(packet)
		lines[i] += fmt.Sprintf(" => %s, %s%s", out.Verdict,
			v.Describe(in.Place(packet.Src, packet.TTL), in.Grants(packet.Src)), v.describeSpent(v.spent(live, in)))
	}
	var header string
	if backends != nil {
		header = "backends: " + strings.Join(backends, " ") + "\n\n"
	}
	return txtar.Format(&txtar.Archive{
		Comment: []byte(header + strings.TrimSpace(comment) + "\n"),
		Files: []txtar.File{
			{Name: "policy.toml", Data: []byte(source)},
			{Name: "trace", Data: []byte(strings.Join(lines, "\n") + "\n")},
		},
	}), nil
}
