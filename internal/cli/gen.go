package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"tirl/internal/atomicfile"
	"tirl/internal/policy"
	"tirl/internal/sequence"
)

type genFlags struct {
	sequenceFlags
	policy, door   string
	noHost, asJSON bool
}

func (a *app) genCommand() *cobra.Command {
	var f genFlags
	cmd := &cobra.Command{
		Use:   "gen",
		Short: "Draw a sequence of knocks at random",
		Long: `Draw a sequence of knocks with the system's random numbers, and print it as a line
of a policy. Every sequence of different ports that check has nothing against has
the same probability; the bits say how many there are. Ports of services, of what
listens on this host, and of this host's own connections are left out. The latter
are drawn only if --ports leaves no others, as with a cloud's security group.

With --write the sequence is put into a door of the policy file. All else in the
file stays as it is, comments and order too, and so does its mode. Nothing is
written if the policy would have errors.`,
		Example: `  tirl gen
  sudo tirl gen --write ssh && sudo tirl apply
  tirl gen --ports 40000-40999 --proto tcp --knocks 8
  tirl gen --no-host --json | jq -r '.knocks[]'`,
		GroupID: groupSetup,
		Args:    noArguments,
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return a.gen(cmd, f) }),
	}
	policyFlag(cmd, &f.policy)
	f.sequenceFlags.add(cmd)
	cmd.Flags().StringVar(&f.door, "write", "", "put it into this `door` of the policy")
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("write", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.completeDoors(f.policy), cobra.ShellCompDirectiveNoFileComp
	})
	cmd.Flags().BoolVar(&f.noHost, "no-host", false, "ask nothing of this host: the policy is for another one")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

// genJSON is what gen prints for programs.
type genJSON struct {
	Knocks    []string `json:"knocks"`
	Bits      float64  `json:"bits"`
	Ports     int      `json:"ports"`          // that each knock was drawn from
	Ephemeral bool     `json:"ephemeral"`      // some are of the host's own connections
	Door      string   `json:"door,omitempty"` // that it was written to
	File      string   `json:"file,omitempty"` // and the policy
}

func (a *app) gen(cmd *cobra.Command, f genFlags) error {
	plan, err := f.plan(cmd)
	if err != nil {
		return err
	}
	if f.door != "" && f.policy == stdinName {
		return usage("tirl gen -c FILE --write "+f.door, "--write needs a file, not standard input")
	}
	d, err := a.draft(f)
	if err != nil {
		return err
	}
	var h policy.Host
	if !f.noHost && a.dir == "" {
		h = a.facts()
	}
	suit(&plan, d.policy, h)
	var s sequence.Sequence
	if f.door == "" {
		if s, err = sequence.Draw(rand.Reader, plan); err != nil {
			return explainDraw(err)
		}
	} else if s, err = a.writeSequence(d, f.door, plan, h); err != nil {
		return err
	}
	a.strengthNote(s, plan)
	out := genJSON{Bits: s.Bits, Ports: s.Ports, Ephemeral: s.Ephemeral, Door: f.door}
	for _, k := range s.Knocks {
		out.Knocks = append(out.Knocks, k.String())
	}
	if f.door != "" {
		out.File = d.file
		a.note("written into door %s of %s", f.door, d.file)
		a.hint("sudo tirl apply puts it in force")
	}
	if f.asJSON {
		return a.printJSON(out)
	}
	return a.print(knocksLine(s.Knocks) + "\n")
}

// draft reads the policy that a sequence is for. If it is not to be written to, it
// need not be there, and who draws for another host need not be able to read it.
func (a *app) draft(f genFlags) (*document, error) {
	d, err := a.parse(f.policy)
	switch {
	case err == nil || f.door != "":
	case errors.Is(err, fs.ErrNotExist) && f.policy == "":
		return &document{}, nil
	case errors.Is(err, fs.ErrPermission) && f.policy == "":
		a.warn("the policy %s cannot be read: the sequence may be at odds with it", a.policyPath(""))
		return &document{}, nil
	}
	return d, err
}

// attempts is how often a sequence is drawn for a policy that finds fault with it.
const attempts = 8

// writeSequence draws the sequence that the changed policy has the least against,
// and writes that.
func (a *app) writeSequence(d *document, door string, plan sequence.Plan, h policy.Host) (sequence.Sequence, error) {
	var best sequence.Sequence
	var text []byte
	var found policy.Diagnostics
	for i := 0; i < attempts && (text == nil || len(found) > 0); i++ {
		s, err := sequence.Draw(rand.Reader, plan)
		if err != nil {
			return s, explainDraw(err)
		}
		changed, ds := policy.SetKnocks(displayName(d.file), d.source, door, s.Knocks)
		if len(ds) > 0 {
			return s, a.invalid(d.file, ds)
		}
		p, ds := policy.Parse(displayName(d.file), changed)
		if p != nil {
			facts := h
			if s.Ephemeral {
				facts.EphemeralFirst, facts.EphemeralLast = 0, 0
			}
			ds = append(ds, p.Audit(facts)...)
		}
		if text == nil || found.HasErrors() && !ds.HasErrors() || found.HasErrors() == ds.HasErrors() && len(ds) < len(found) {
			best, text, found = s, changed, ds
		}
	}
	if found.HasErrors() {
		return best, a.invalid(d.file, found)
	}
	if err := atomicfile.Replace(d.file, text); err != nil {
		return best, fmt.Errorf("write %s: %w", d.file, err)
	}
	return best, nil
}
