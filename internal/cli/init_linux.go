package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/atomicfile"
	"tirl/internal/automaton"
	"tirl/internal/doctor"
	"tirl/internal/draft"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/sequence"
)

// secretMode is that of a policy.
const secretMode = 0o600

type initFlags struct {
	sequenceFlags
	policy, door, mode, onFailure string
	opens, trust                  []string
	force                         bool
	client                        exportFlags
}

func (a *app) initCommand() *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first policy for this host",
		Long: `Look at this host and write a policy with comments: a door that hides SSH, with
knocks drawn at random; as public, what else listens; as trust, a VPN's interface
if that is how you came in. Your own address is only suggested, in a comment: it
may be somebody else's tomorrow. It tells what it found, other firewalls too, and
what to do next, and prints what a client needs, as tirl export does.

It changes nothing but the policy file, which gets mode 0600, and never overwrites
one that has more than comments, unless --force is given. The name - writes to
standard output instead. With --root it looks at the files of an image, not at
this host.`,
		Example: `  sudo tirl init
  sudo tirl init --opens tcp/22 --opens tcp/5432 --trust iface:wg0
  sudo tirl init --mode firewall --ports 40000-40999 --qr
  tirl init --root /mnt/image -c - | less`,
		GroupID: groupSetup,
		Args:    noArguments,
		RunE:    a.run(func(cmd *cobra.Command, _ []string) error { return a.initialize(cmd, f) }),
	}
	policyFlag(cmd, &f.policy)
	f.sequenceFlags.add(cmd)
	cmd.Flags().StringArrayVar(&f.opens, "opens", nil, "`service` to hide, such as tcp/22 (default: where SSH listens); may be repeated")
	cmd.Flags().StringVar(&f.door, "door", "", "`name` of the door (default ssh)")
	cmd.Flags().StringVar(&f.mode, "mode", string(policy.Guard), "`mode` of the policy: guard or firewall")
	complete(cmd, "mode", []string{string(policy.Guard), string(policy.Firewall)})
	cmd.Flags().StringArrayVar(&f.trust, "trust", nil, "`who` is always let in: an address, a network, iface:NAME, session (your own address) or none; may be repeated")
	cmd.Flags().StringVar(&f.onFailure, "on-failure", "", "`close|open`: what becomes of the doors if no rules can be loaded when the host starts")
	complete(cmd, "on-failure", []string{string(policy.CloseOnFailure), string(policy.OpenOnFailure)})
	cmd.Flags().BoolVar(&f.force, "force", false, "overwrite a policy")
	f.client.add(cmd)
	return cmd
}

func (a *app) initialize(cmd *cobra.Command, f initFlags) error {
	plan, err := f.plan(cmd)
	if err != nil {
		return err
	}
	if err := f.valid(); err != nil {
		return err
	}
	if len(f.client.addresses) > 0 {
		if _, err := a.ownAddresses(f.client.addresses); err != nil {
			return err
		}
	}
	file := a.policyPath(f.policy)
	overwrite := f.force || a.blank(file)
	if file != stdinName && !overwrite && fileExists(file) {
		return fail(exitFailed, fmt.Errorf("there is a policy already: %s", file), "to look at it: tirl check; to overwrite it: sudo tirl "+commandLine(append(slices.Clone(a.args), "--force")))
	}
	if file == defaultPolicy {
		if err := a.needRoot("write " + file); err != nil {
			return err
		}
	}
	found, err := a.look(cmd.Context(), f)
	if err != nil {
		return err
	}
	d, seq, err := a.draftPolicy(f, plan, found)
	if err != nil {
		return err
	}
	text, err := d.Text()
	if err != nil {
		return err
	}
	p, problems := policy.Parse(displayName(file), text)
	if p == nil {
		return a.invalid(file, problems)
	}
	if file == stdinName {
		return a.print(string(text))
	}
	if err := writeNew(file, text, overwrite); err != nil {
		return a.explainFailure(fmt.Errorf("write the policy: %w", err))
	}
	a.note("wrote %s: door %s hides %s", file, d.Door, ranges(d.Opens))
	a.strengthNote(seq, plan)
	a.tellTrust(found, f.trust)
	if err := a.initWarnings(p, problems, found); err != nil {
		return err
	}
	named := []string(nil)
	if f.policy != "" || a.getenv("TIRL_POLICY") != "" {
		named = []string{"-c", file}
	}
	if found.live || len(f.client.addresses) > 0 {
		f.client.policy = file
		// The policy is written: that its clients cannot be told is no failure.
		if err := a.export([]string{d.Door}, f.client); err != nil {
			a.warn("what a client needs is not printed: %v", err)
			a.hint("sudo tirl %s", commandLine(append([]string{"export", "--address", "ADDRESS"}, named...)))
		}
	}
	if found.live {
		a.hint("look at it, and then: sudo tirl %s", commandLine(append([]string{"apply"}, named...)))
	}
	return nil
}

// valid checks what cobra does not.
func (f *initFlags) valid() error {
	switch policy.Mode(f.mode) {
	case policy.Guard, policy.Firewall:
	default:
		return usage("--mode guard or --mode firewall", "--mode cannot be %q", f.mode)
	}
	switch policy.OnFailure(f.onFailure) {
	case "", policy.CloseOnFailure, policy.OpenOnFailure:
	default:
		return usage("use close or open", "--on-failure cannot be %q", f.onFailure)
	}
	return nil
}

// draftPolicy puts together what was found and what was asked for.
func (a *app) draftPolicy(f initFlags, plan sequence.Plan, found *findings) (draft.Draft, sequence.Sequence, error) {
	d := draft.Draft{
		Mode: policy.Mode(f.mode), Door: f.door, Opens: found.opens,
		Trust: found.trust, Suggested: found.suggested, Firewalls: found.firewalls, OnFailure: policy.OnFailure(f.onFailure),
	}
	if d.Door == "" {
		d.Door = "ssh"
	}
	// A knock at what listens is none.
	suit(&plan, nil, found.host)
	plan.Avoid = append(plan.Avoid, d.Opens...)
	s, err := sequence.Draw(rand.Reader, plan)
	if err != nil {
		return d, s, explainDraw(err)
	}
	d.Knocks, d.Bits = s.Knocks, math.Floor(s.Bits)
	d.Public = draft.Public(found.host.Listeners, d.Mode, d.Opens, d.Knocks)
	if d.OnFailure == "" && a.interactive() {
		d.OnFailure = a.askOnFailure()
	}
	return d, s, nil
}

// blank says whether a file has nothing but comments, as a package leaves it.
func (a *app) blank(file string) bool {
	if file == stdinName {
		return false
	}
	text, err := a.readFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return false
		}
	}
	return true
}

// writeNew writes a secret file.
func writeNew(file string, text []byte, overwrite bool) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if overwrite {
		// A link stays, and what it leads to is replaced.
		target, err := filepath.EvalSymlinks(file)
		switch {
		case err == nil:
			file = target
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	w, err := atomicfile.Create(file, secretMode)
	if err != nil {
		return err
	}
	defer w.Discard()
	if overwrite {
		return w.Commit(text)
	}
	return w.CommitNew(text)
}

// initWarnings tells what check and doctor would say of the policy on this host.
func (a *app) initWarnings(p *policy.Policy, problems policy.Diagnostics, found *findings) error {
	g, err := automaton.Compile(p)
	if err != nil {
		return err
	}
	if found.live {
		h := found.host
		h.FileMode = secretMode
		problems = append(problems, p.Audit(h)...)
	}
	for _, w := range problems {
		a.warn("%s", w.Text)
		if w.Hint != "" {
			a.hint("%s", w.Hint)
		}
	}
	if !found.live {
		return nil
	}
	if !mayAdministrate() {
		return nil // what doctor would say is not known
	}
	for _, x := range doctor.Judge(doctor.Subject{Program: g}, found.facts) {
		// What is not yet loaded is no surprise, nor is the clock.
		if x.ID == doctor.NotLoaded || x.ID == doctor.ClockUnsynced {
			continue
		}
		if x.Severity == doctor.Note {
			a.note("%s", x.Text)
		} else {
			a.warn("%s", x.Text)
		}
		if x.Hint != "" {
			a.hint("%s", x.Hint)
		}
	}
	return nil
}

// hidden says what the door is to open.
func (f *initFlags) hidden() ([]port.Range, error) {
	var list []port.Range
	for _, word := range f.opens {
		r, err := port.ParseRange(word)
		if err != nil {
			return nil, usage("such as --opens tcp/22", "--opens %q: %v", word, err)
		}
		list = append(list, r)
	}
	return list, nil
}
