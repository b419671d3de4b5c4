package cli

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"tirl/internal/automaton"
	"tirl/internal/explain"
	"tirl/internal/policy"
	samples "tirl/internal/sample"
	"tirl/internal/term"
	"tirl/internal/trace"
)

type explainFlags struct {
	policy, file, from string
	asJSON             bool
}

func (a *app) explainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain [PACKET...]",
		Short: "Tell what a policy makes of packets",
		Long: `Tell step by step what a policy makes of packets, by the reference interpreter:
nothing is loaded or sent, and no root is needed.

A packet is what it is addressed to: udp/12345, tcp/22, a sweep such as
udp/1-65535, or icmp. Words after it say more:

  from ADDRESS    its source; later packets keep it
  flags, state, to, via, ttl, sport, type    as in: state established, via lo

Before it may stand a time: +1.5s after the packet before, or @10s after the
start; else packets are 100 ms apart. "wait 3s" lets time pass. Packets come from
the command line, or from a file or standard input (-), one a line.`,
		Example: `  tirl explain udp/12345 udp/23456 udp/34567 tcp/22
  tirl explain -c policy.toml udp/12345 +15s udp/23456 tcp/22 from 198.51.100.9
  tirl explain --file packets.txt --from 2001:db8::7`,
		GroupID:           groupLook,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.run(func(_ *cobra.Command, args []string) error { return a.explain(f, args) }),
	}
	policyFlag(cmd, &f.policy)
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "read the packets from a `file`, - for standard input")
	cmd.Flags().StringVar(&f.from, "from", "", "`address` that packets come from (default "+trace.DefaultSource().String()+")")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

func (a *app) explain(f explainFlags, args []string) error {
	read, err := a.packets(f, args)
	if err != nil {
		return err
	}
	d, err := a.sound(f.policy)
	if err != nil {
		return err
	}
	g, err := automaton.Compile(d.policy)
	if err != nil {
		return a.invalid(d.file, policy.Diagnostics{d.policy.Diagnose("door", policy.Error, err.Error(), "")})
	}
	t, err := read(g)
	if err != nil {
		return err
	}
	story := explain.Run(g, t)
	if f.asJSON {
		return a.printJSON(story)
	}
	s := a.style()
	return story.Write(a.out, explain.Style{Packet: s.Bold, Good: s.Green, Refused: s.Yellow})
}

// packets finds the packets wherever they are, and gives what reads them for a
// program, whose users they may name.
func (a *app) packets(f explainFlags, args []string) (func(*automaton.Program) (*trace.Trace, error), error) {
	source := trace.DefaultSource()
	if f.from != "" {
		var err error
		if source, err = netip.ParseAddr(f.from); err != nil || source.Zone() != "" {
			return nil, usage("tirl explain --from 192.0.2.7 udp/12345", "--from %s is not an address", f.from)
		}
		source = source.Unmap()
	}
	if slices.Equal(args, []string{stdinName}) && f.file == "" {
		f.file, args = stdinName, nil
	}
	switch {
	case f.file != "" && len(args) > 0:
		return nil, usage("leave out one of them", "the packets come from %s and from the command line", displayName(f.file))
	case f.file == "" && len(args) == 0 && term.IsTerminal(a.in):
		return nil, usage("tirl explain udp/12345 udp/23456 udp/34567 tcp/22", "name the packets")
	case f.file == "" && len(args) == 0:
		f.file = stdinName
	}
	if f.file == "" {
		return func(g *automaton.Program) (*trace.Trace, error) {
			words, err := samples.SpellArgs(g, args)
			var t *trace.Trace
			if err == nil {
				t, err = trace.ParseArgsFrom(words, source)
			}
			if err != nil {
				return nil, usage("see tirl explain --help", "%w", err)
			}
			return t, nil
		}, nil
	}
	if f.file == stdinName && a.policyPath(f.policy) == stdinName {
		return nil, usage("name a file with -c", "the policy and the packets cannot both come from standard input")
	}
	text, err := a.readFile(f.file)
	if err != nil {
		return nil, fmt.Errorf("read the packets: %w", err)
	}
	return func(g *automaton.Program) (*trace.Trace, error) {
		spelt, err := samples.Spell(g, string(text))
		var t *trace.Trace
		if err == nil {
			t, err = trace.ParseFrom(displayName(f.file), spelt, source)
		}
		if err != nil {
			return nil, fmt.Errorf("read the packets:\n%w", err)
		}
		return t, nil
	}, nil
}
