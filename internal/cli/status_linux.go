package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/pool"
)

func (a *app) statusCommand() *cobra.Command {
	policyFile, asJSON, asMetrics, live, interval := "", false, false, false, time.Second
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what is loaded and who has knocked",
		Long: `Show what the kernel holds: the backend, the policy and since when; whether the
rules are still as they were loaded, and whether the policy file is still what
was loaded; and a line for each source that has begun to knock, or that a door is
open to, with the time left.

With --watch the terminal shows it live, with how often things happen, until q or
Ctrl-C. It costs the kernel a listing each time, so it looks less often where there
is much to list.

The exit status is 3 if nothing is loaded, and 5 if somebody has changed the rules.`,
		Example: `  sudo tirl status
  sudo tirl status --watch
  sudo tirl status --json | jq '.grants[].source'
  sudo tirl status --prometheus > /var/lib/prometheus/node-exporter/tirl.prom
  sudo tirl status > /dev/null || sudo tirl apply`,
		GroupID: groupLook,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			switch {
			case interval < minInterval:
				return usage("such as --interval 1s", "--interval %s is less than %s", interval, minInterval)
			case cmd.Flags().Changed("interval") && !live:
				return usage("tirl status --watch --interval "+interval.String(), "--interval needs --watch")
			}
			if err := a.needRoot("read the rules"); err != nil {
				return err
			}
			if live {
				return a.watch(cmd.Context(), policyFile, interval)
			}
			s, err := a.engine().Status(cmd.Context())
			if err != nil {
				return a.explainFailure(err)
			}
			v := a.withUsers(cmd.Context(), a.view(s, policyFile))
			switch {
			case asMetrics:
				return a.printMetrics(cmd.Context(), v)
			case asJSON:
				err = a.printJSON(v.json())
			default:
				err = a.printStatus(v)
			}
			if err != nil {
				return err
			}
			return v.verdict()
		}),
	}
	policyFlag(cmd, &policyFile)
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&asMetrics, "prometheus", false, "print counters for node_exporter's textfile collector, and exit with 0")
	cmd.Flags().BoolVarP(&live, "watch", "w", false, "show it live on the terminal")
	cmd.Flags().DurationVar(&interval, "interval", interval, "`time` between two looks of --watch")
	cmd.MarkFlagsMutuallyExclusive("json", "prometheus", "watch")
	return cmd
}

// minInterval is the shortest of --watch: less nobody sees.
const minInterval = 100 * time.Millisecond

// view is a status with all that is needed to tell it.
type view struct {
	*apply.Status
	program *automaton.Program // what is loaded; nil if its policy is not known
	file    string             // the policy file
	change  fileChange
	sources []source
	grants  []grant
	users   []pool.Info
}

// fileChange says how the policy file compares with what is loaded.
type fileChange string

const (
	fileSame    fileChange = "same"
	fileChanged fileChange = "changed"
	fileInvalid fileChange = "invalid"
	fileMissing fileChange = "missing"
)

// view finds the policy that the numbers in the kernel belong to: the recorded
// one, else the policy file, if it is the same.
func (a *app) view(s *apply.Status, policyFile string) *view {
	v := &view{Status: s, file: a.policyPath(policyFile)}
	if !s.Active() {
		return v
	}
	if policyFile == "" && a.getenv("TIRL_POLICY") == "" && s.Record != nil && s.Record.PolicyFile != stdinName {
		v.file = s.Record.PolicyFile
	}
	hash := s.Loaded.PolicyHash
	d, err := a.parse(v.file)
	switch {
	case err != nil:
		v.change = fileMissing
	case d.policy == nil:
		v.change = fileInvalid
	case d.policy.Hash() != hash:
		v.change = fileChanged
	default:
		v.change = fileSame
		v.program, _ = automaton.Compile(d.policy)
	}
	if s.Record != nil && v.program == nil {
		if p, _ := policy.Parse(s.Record.PolicyFile, []byte(s.Record.Policy)); p != nil && p.Hash() == hash {
			v.program, _ = automaton.Compile(p)
		}
	}
	v.sources, v.grants = sources(s.Loaded.Places, v.program), grants(s.Loaded.Grants, v.program)
	return v
}

// verdict is the exit code.
func (v *view) verdict() error {
	switch {
	case v.Rebooted:
		return fail(exitInactive, errors.New("the host has been started anew since the rules were loaded"), "sudo tirl apply")
	case v.Flushed != nil:
		return fail(exitInactive, errors.New("somebody has removed the rules since they were loaded"), "sudo tirl apply")
	case !v.Active():
		return quiet(exitInactive)
	case v.Drifted:
		return fail(exitFindings, errors.New("somebody has changed the rules since they were loaded"), "sudo tirl apply --dry-run")
	}
	return nil
}

func (a *app) printStatus(v *view) error {
	for _, err := range v.Unread {
		a.warn("%v", err)
	}
	style := a.style()
	if !v.Active() {
		if err := a.print(style.Bold("not active") + "\n"); err != nil {
			return err
		}
		if err := a.printLines(v.waiting()); err != nil {
			return err
		}
		a.printWait(v)
		if v.Flushed != nil {
			return a.print(fmt.Sprintf("last loaded: %s, policy %s, %s\n",
				v.Flushed.Backend, short(v.Flushed.PolicyHash), moment(v.Flushed.Applied)))
		}
		return nil
	}
	if err := a.printLines(append(v.head(), v.waiting()...)); err != nil {
		return err
	}
	a.printWait(v)
	for _, name := range v.Others {
		a.warn("%s holds rules too, which an interrupted apply has left", name)
		a.hint("sudo tirl apply")
	}
	if err := a.printSources(v); err != nil {
		return err
	}
	a.userHints(v.users)
	if v.change == fileChanged {
		a.note("%s is not what is loaded: see tirl apply --dry-run", v.file)
	}
	return nil
}

// head says what is loaded.
func (v *view) head() []string {
	what := fmt.Sprintf("active: %s, %s", v.Backend, plural(v.Loaded.Rules, "rule"))
	if g := v.program; g != nil {
		what = fmt.Sprintf("active: %s, %s mode, %s, %s", v.Backend, modeName(g), plural(len(g.Doors), "door"),
			plural(v.Loaded.Rules, "rule"))
	}
	lines := []string{what}
	since := "nobody has recorded since when"
	if r := v.Record; r != nil {
		since = fmt.Sprintf("since %s, by tirl %s", moment(r.Applied), r.Version)
	}
	lines = append(lines, fmt.Sprintf("policy: %s, %s", short(v.Loaded.PolicyHash), since))
	state := map[fileChange]string{
		fileSame:    "as loaded",
		fileChanged: "changed since",
		fileInvalid: "changed since, and has errors",
		fileMissing: "cannot be read",
	}[v.change]
	lines = append(lines, fmt.Sprintf("file:   %s, %s", displayName(v.file), state))
	if v.Loaded.Blocked {
		lines = append(lines, "blocked: nobody is let in but trust, until tirl unblock")
	}
	return lines
}

func modeName(g *automaton.Program) string {
	if g.Firewall {
		return string(policy.Firewall)
	}
	return string(policy.Guard)
}

// short is as much of a hash as people compare.
func short(hash string) string { return hash[:min(12, len(hash))] }

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }
