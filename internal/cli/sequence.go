package cli

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/sequence"
)

// The ports that Linux uses for a host's own connections unless it is told
// otherwise: ip_local_port_range in Documentation/networking/ip-sysctl.rst.
const (
	usualEphemeralFirst = 32768
	usualEphemeralLast  = 60999
)

// Protocols of --proto.
const mixed = "mixed"

func protos() []string { return []string{"udp", "tcp", mixed} }

// sequenceFlags say what sequence to draw.
type sequenceFlags struct {
	knocks       int
	ports, proto string
}

func (f *sequenceFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.knocks, "knocks", 0, fmt.Sprintf("how many knocks (default: as few as have more than %d bits)", sequence.EnoughBits))
	cmd.Flags().StringVar(&f.ports, "ports", "", "`range` of ports to draw from, such as 40000-40999")
	cmd.Flags().StringVar(&f.proto, "proto", "udp", "`protocol` of the knocks: "+strings.Join(protos(), ", "))
	complete(cmd, "proto", protos())
}

// plan reads the flags.
func (f *sequenceFlags) plan(cmd *cobra.Command) (sequence.Plan, error) {
	p := sequence.Plan{Knocks: f.knocks, Protos: []port.Proto{port.UDP, port.TCP}}
	if cmd.Flags().Changed("knocks") && (f.knocks < sequence.MinKnocks || f.knocks > sequence.MaxKnocks) {
		return p, usage("such as --knocks 5", "--knocks %d is not between %d and %d", f.knocks, sequence.MinKnocks, sequence.MaxKnocks)
	}
	switch f.proto {
	case "udp":
		p.Protos = p.Protos[:1]
	case "tcp":
		p.Protos = p.Protos[1:]
	case mixed:
	default:
		return p, usage("one of "+strings.Join(protos(), ", "), "--proto cannot be %q", f.proto)
	}
	if f.ports != "" {
		r, err := port.ParseRange("udp/" + f.ports)
		if err != nil {
			return p, usage("such as --ports 40000-40999", "--ports %q: %v", f.ports, err)
		}
		p.First, p.Last = r.First, r.Last
	}
	return p, nil
}

// suit fits a plan to a policy, which may be nil, and to a host.
func suit(plan *sequence.Plan, p *policy.Policy, h policy.Host) {
	if h.EphemeralLast == 0 {
		h.EphemeralFirst, h.EphemeralLast = usualEphemeralFirst, usualEphemeralLast
	}
	for _, l := range h.Listeners {
		plan.Avoid = append(plan.Avoid, port.Range{Proto: l.Service.Proto, First: l.Service.Number, Last: l.Service.Number})
	}
	if p != nil {
		plan.Avoid = append(plan.Avoid, p.Public.Services...)
		for _, d := range p.Doors {
			plan.Avoid = append(plan.Avoid, d.Opens...)
		}
	}
	plan.Ephemeral = h.Ephemeral
	h.Listeners = nil
	plan.Judge = func(knocks []port.Port, forced bool) error {
		facts := h
		if forced {
			facts = policy.Host{}
		}
		if ds := judgeAlone(knocks, facts); len(ds) > 0 {
			return errors.New(strings.ReplaceAll(ds[0].Text, ` of door "new"`, ""))
		}
		return nil
	}
}

// judgeAlone asks check what it thinks of a sequence.
func judgeAlone(knocks []port.Port, h policy.Host) policy.Diagnostics {
	service := port.Port{Proto: port.TCP, Number: 1}
	for slices.Contains(knocks, service) {
		service.Number++
	}
	p, ds := policy.Parse("", fmt.Appendf(nil, "[door.new]\nopens = [%q]\n%s\n", service, knocksLine(knocks)))
	if p != nil {
		ds = append(ds, p.Audit(h)...)
	}
	return ds
}

// knocksLine is what a policy says of a sequence.
func knocksLine(knocks []port.Port) string {
	words := make([]string, len(knocks))
	for i, k := range knocks {
		words[i] = strconv.Quote(k.String())
	}
	return "knocks = [" + strings.Join(words, ", ") + "]"
}

// strengthNote says what a sequence is worth.
func (a *app) strengthNote(s sequence.Sequence, plan sequence.Plan) {
	a.note("%s, each one of %d ports: %.0f bits", plural(len(s.Knocks), "knock"), s.Ports, math.Floor(s.Bits))
	if s.Bits <= sequence.EnoughBits {
		a.warn("that is not more than %d bits", sequence.EnoughBits)
		a.hint("more knocks, or more ports to draw from")
	}
	if s.Ephemeral {
		a.warn("some of these ports a host uses for its own connections: a knock at one of them may fail")
		if plan.Last > 0 {
			a.hint("keep them free: echo 'net.ipv4.ip_local_reserved_ports = %d-%d' | sudo tee /etc/sysctl.d/90-tirl.conf && sudo sysctl --system",
				plan.First, plan.Last)
		}
	}
}

// explainDraw turns a failure to draw into one with a hint.
func explainDraw(err error) error {
	if errors.Is(err, sequence.ErrTooFew) {
		return fail(exitFailed, fmt.Errorf("draw a sequence: %w", err), "give more ports, such as --ports 40000-40999, or more knocks")
	}
	return err
}
