package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tirl/internal/automaton"
	"tirl/internal/doctor"
	"tirl/internal/tool"
)

func (a *app) doctorCommand() *cobra.Command {
	policyFile, door, asJSON, limit := "", "", false, time.Duration(0)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what on this host defeats the doors",
		Long: `Look at this host for what defeats the doors, and print for each finding the
command that mends it: another firewall that closes a door's service too, a
service without a door or a door without a service, a port that is published around a
door, a reload that flushes all rules, connection tracking that is off or full.
It judges the policy that is loaded, or the one that -c names, and changes nothing.
What it says of other firewalls is a judgement about common shapes, not a proof.

With --listen it shows live which knocks of a door arrive at this host, before any
firewall on it has seen them, until Ctrl-C or for the time of --for; then it says
which never came. A cloud's or a router's firewall swallows them often. It is only
for looking: the doors need no process of tirl.

The exit status is 5 if there is more than notes, or if a knock never came.`,
		Example: `  sudo tirl doctor
  sudo tirl doctor --json | jq -r '.findings[].hint'
  sudo tirl doctor --listen ssh --for 30s`,
		GroupID: groupLook,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			switch {
			case door == "" && limit != 0:
				return usage("tirl doctor --listen DOOR --for "+limit.String(), "--for needs --listen")
			case limit < 0:
				return usage("", "--for takes a time such as 30s")
			case door != "" && asJSON:
				return usage("", "--listen has no --json")
			}
			if err := a.needRoot("look at this host"); err != nil {
				return err
			}
			s, err := a.patient(cmd.Context(), policyFile)
			if err != nil {
				return err
			}
			if door != "" {
				return a.listen(cmd.Context(), s.Program, door, limit)
			}
			return a.diagnoseHost(cmd.Context(), s, policyFile, asJSON)
		}),
	}
	policyFlag(cmd, &policyFile)
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&door, "listen", "", "show which knocks of this `door` arrive")
	cmd.Flags().DurationVar(&limit, "for", 0, "with --listen: end after this `time`")
	return cmd
}

// patient finds the policy to judge: the one that a flag names, else what is
// loaded, else the policy file.
func (a *app) patient(ctx context.Context, policyFile string) (doctor.Subject, error) {
	s, err := a.engine().Status(ctx)
	if err != nil {
		return doctor.Subject{}, a.explainFailure(err)
	}
	v := a.view(s, "")
	subject := doctor.Subject{Program: v.program, Backend: s.Backend, Drifted: s.Drifted, Changed: v.change == fileChanged}
	if policyFile == "" && (s.Active() || !fileExists(a.policyPath(""))) {
		return subject, nil
	}
	d, err := a.sound(policyFile)
	if err != nil {
		return subject, err
	}
	if subject.Program, err = automaton.Compile(d.policy); err != nil {
		return subject, fail(exitInvalid, fmt.Errorf("compile the policy %s: %w", displayName(d.file), err), "")
	}
	subject.Changed = s.Active() && subject.Program.PolicyHash != s.Loaded.PolicyHash
	return subject, nil
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// gather reads this host's facts.
func (a *app) gather(ctx context.Context, firewall bool) doctor.Facts {
	h := doctor.Host{Run: tool.Host{}, Kernel: os.DirFS("/"), Config: os.DirFS(a.dir + "/"), ClockSynced: clockSynced}
	return h.Gather(ctx, firewall)
}

// diagnoseHost prints findings.
func (a *app) diagnoseHost(ctx context.Context, s doctor.Subject, policyFile string, asJSON bool) error {
	facts := a.gather(ctx, s.Program != nil && s.Program.Firewall)
	if err := ctx.Err(); err != nil {
		return err
	}
	found := doctor.Judge(s, facts)
	var err error
	if s.Backend != "" && s.Program != nil && len(s.Program.Users) > 0 {
		users, err := a.userInfos(ctx, policyFile)
		if err != nil {
			facts.Unread = append(facts.Unread, err)
		}
		found = append(found, userTroubles(users)...)
	}
	if asJSON {
		err = a.printJSON(newDoctorJSON(s, found, facts.Unread))
	} else {
		err = a.printFindings(s, found, facts.Unread)
	}
	if err == nil && doctor.Sick(found) {
		err = quiet(exitFindings)
	}
	return err
}

type doctorJSON struct {
	Active   bool             `json:"active"`
	Healthy  bool             `json:"healthy"`
	Findings []doctor.Finding `json:"findings"`
	Errors   []string         `json:"errors"` // what could not be looked at
}

func newDoctorJSON(s doctor.Subject, found []doctor.Finding, unread []error) doctorJSON {
	out := doctorJSON{Active: s.Backend != "", Healthy: !doctor.Sick(found), Findings: append([]doctor.Finding{}, found...), Errors: []string{}}
	for _, err := range unread {
		out.Errors = append(out.Errors, err.Error())
	}
	return out
}

func (a *app) printFindings(s doctor.Subject, found []doctor.Finding, unread []error) error {
	for _, err := range unread {
		a.warn("%v", err)
	}
	if s.Program == nil {
		a.warn("no policy is known, so the doors were not looked at")
		a.hint("tirl doctor -c FILE")
	}
	style := a.style()
	var out strings.Builder
	for _, f := range found {
		word := map[doctor.Severity]func(string) string{doctor.Error: style.Red, doctor.Warning: style.Yellow, doctor.Note: style.Bold}[f.Severity]
		fmt.Fprintf(&out, "%s %s\n", word(string(f.Severity)+":"), f.Text)
		if f.Hint != "" {
			fmt.Fprintf(&out, "  %s %s\n", style.Cyan("hint:"), f.Hint)
		}
	}
	if len(found) == 0 {
		out.WriteString("nothing found\n")
	}
	return a.print(out.String())
}

// clockSynced asks the kernel; TIME_ERROR is a clock that nothing disciplines.
func clockSynced() (bool, error) {
	state, err := unix.Adjtimex(&unix.Timex{})
	const timeError = 5 // include/uapi/linux/timex.h
	return state != timeError, err
}

// listen shows the knocks of a door as they come.
func (a *app) listen(ctx context.Context, g *automaton.Program, name string, limit time.Duration) error {
	if g == nil {
		return fail(exitFailed, errors.New("no policy is known"), "tirl doctor --listen "+name+" -c FILE")
	}
	i := slices.IndexFunc(g.Doors, func(d automaton.Door) bool { return d.Name == name })
	if i < 0 {
		hint := ""
		if len(g.Doors) <= 20 {
			names := make([]string, len(g.Doors))
			for i, d := range g.Doors {
				names[i] = d.Name
			}
			hint = "one of " + strings.Join(names, ", ")
		}
		return usage(hint, "there is no door %q", name)
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	knocks := g.Doors[i].Knocks
	w := doctor.NewWatch(knocks)
	err := doctor.Listen(ctx, w, func(arrival doctor.Arrival) {
		// A closed standard output shows at the end.
		_ = a.print(arrival.String() + "\n")
	}, func() {
		a.note("listening for the %d knocks of door %s; now knock", len(knocks), name)
	})
	if errors.Is(err, unix.EPERM) {
		return fail(exitFailed, err, "sudo tirl "+commandLine(a.args))
	}
	if err != nil {
		return err
	}
	missing := w.Missing()
	if len(missing) == 0 {
		return a.print(fmt.Sprintf("all %d knocks arrived\n", len(knocks)))
	}
	for _, n := range missing {
		if err := a.print(fmt.Sprintf("knock %d (%s) never arrived\n", n, knocks[n-1])); err != nil {
			return err
		}
	}
	a.hint("something on the way drops it: let it through in the cloud's, the provider's or the router's firewall, or choose another port")
	return quiet(exitFindings)
}
