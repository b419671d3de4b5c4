// Package account tells what the verifier has found in words. It is pure.
package account

import (
	"fmt"
	"slices"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/explain"
	"tirl/internal/port"
	"tirl/internal/trace"
	"tirl/internal/verify"
	"tirl/internal/verify/ruleset"
)

// Difference tells a counterexample as explain does, and what the rules do instead.
func Difference(g *automaton.Program, rs *ruleset.Ruleset, d verify.Difference) string {
	var b strings.Builder
	for _, s := range runs(g, d) {
		fmt.Fprintf(&b, "  %6.2fs %s%s: %s\n", s.time, s.packet, s.times(", %d times"), s.text)
	}
	fmt.Fprintf(&b, "  but the rules: %s%s\n", d.Got.Verdict, Rule(rs, d.Got.Line))
	return b.String()
}

// Line tells a counterexample in one line.
func Line(g *automaton.Program, d verify.Difference) string {
	var packets []string
	all := runs(g, d)
	from := " from " + d.Packets[0].Src.String()
	others := slices.ContainsFunc(d.Packets, func(p automaton.Packet) bool { return p.Src != d.Packets[0].Src })
	for i, s := range all {
		text := s.packet
		if !others {
			text = strings.Replace(text, from, "", 1)
		}
		if i > 0 && s.time-all[i-1].time >= 1 {
			text = fmt.Sprintf("after %.0f s %s", s.time-all[i-1].time, text)
		}
		packets = append(packets, text+s.times(" (%d times)"))
	}
	where := "by the policy of a chain"
	if d.Got.Line > 0 {
		where = fmt.Sprintf("line %d", d.Got.Line)
	}
	return fmt.Sprintf("%s: your ruleset says %s (%s), tirl %s", strings.Join(packets, ", "), d.Got.Verdict, where, d.Want.Verdict)
}

// run is some packets that follow each other and are the same.
type run struct {
	time         float64
	packet, text string
	count        int
}

func (r run) times(format string) string {
	if r.count == 1 {
		return ""
	}
	return fmt.Sprintf(format, r.count)
}

func runs(g *automaton.Program, d verify.Difference) []run {
	var out []run
	for _, s := range explain.Run(g, Trace(d.Packets)).Steps {
		if n := len(out); n > 0 && out[n-1].packet == s.Packet && out[n-1].text == s.Text {
			out[n-1].count += s.Count
			continue
		}
		out = append(out, run{s.Time, s.Packet, s.Text, s.Count})
	}
	return out
}

// Rule is the text of the rule on a line, to be put behind a verdict.
func Rule(rs *ruleset.Ruleset, line int) string {
	if line == 0 {
		return ", by the policy of a chain"
	}
	for _, c := range rs.Chains {
		for _, r := range c.Rules {
			if r.Line == line {
				return fmt.Sprintf(", line %d: %s", line, r.Text)
			}
		}
	}
	return fmt.Sprintf(", line %d", line)
}

// Trace is a trace of packets, with runs of the same packet as they are.
func Trace(packets []automaton.Packet) *trace.Trace {
	t := &trace.Trace{}
	for i, p := range packets {
		t.Steps = append(t.Steps, trace.Step{Line: i + 1, Packet: p, Last: p.To.Number})
		t.End = p.Time
	}
	return t
}

// Packets are those of a counterexample, as explain reads them.
func Packets(d verify.Difference) []string {
	return strings.Split(strings.TrimSpace(Trace(d.Packets).String()), "\n")
}

// Sweeps looks for the attack that needs no knowledge, where something lets somebody in
// at a service that the policy does not.
func Sweeps(g *automaton.Program, rs *ruleset.Ruleset, differences []verify.Difference) (int, port.Proto, port.Port) {
	let := slices.ContainsFunc(differences, func(d verify.Difference) bool {
		return d.Want.Service && d.Got.Verdict == automaton.Accept.String()
	})
	if !let {
		return 0, 0, port.Port{}
	}
	return verify.Sweeps(g, rs)
}
