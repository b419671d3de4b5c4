package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/backend/iptables"
	"tirl/internal/backend/nftables"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// kinds are all backends, the best first.
func kinds() []apply.Kind {
	return []apply.Kind{
		{Name: policy.BackendNftables, New: func(r tool.Runner) backend.Backend { return nftables.New(r) }},
		{Name: policy.BackendIptables, New: func(r tool.Runner) backend.Backend { return iptables.New(r) }},
	}
}

func backendNames() []string {
	names := []string{policy.BackendAuto}
	for _, k := range kinds() {
		names = append(names, k.Name)
	}
	return names
}

// backendFlag adds --backend to a command.
func backendFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "backend", "", "`backend` instead of the policy's: "+strings.Join(backendNames(), ", "))
	complete(cmd, "backend", backendNames())
}

// complete gives a shell the values of a flag.
func complete(cmd *cobra.Command, flag string, values []string) {
	// It fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// backendName is the backend that a policy and a flag ask for.
func backendName(p *policy.Policy, flag string) (string, error) {
	if flag == "" {
		return p.Backend, nil
	}
	if !slices.Contains(backendNames(), flag) {
		return "", usage("one of "+strings.Join(backendNames(), ", "), "there is no backend %q", flag)
	}
	return flag, nil
}

// asked gives the kinds that a backend's name stands for.
func asked(name string) []apply.Kind {
	all := kinds()
	if name == policy.BackendAuto {
		return all
	}
	return slices.DeleteFunc(all, func(k apply.Kind) bool { return k.Name != name })
}

// judgement says what the backends in question make of a policy.
type judgement struct {
	able  []apply.Kind // can carry it, the best first
	lacks []apply.Lack
	// found are the problems with the policy's positions: all of them as errors
	// if no backend can carry it, else the warnings of the best.
	found policy.Diagnostics
}

// judge asks the backends. With auto what one of them cannot do is no error as
// long as another can.
func judge(d *document, g *automaton.Program, name string) judgement {
	kinds := asked(name)
	var j judgement
	j.able, j.lacks = apply.Fit(kinds, g)
	if len(j.able) == 0 {
		for _, l := range j.lacks {
			for _, p := range l.Problems {
				j.found = append(j.found, diagnose(d.policy, l.Backend, p))
			}
		}
		return j
	}
	for _, p := range j.able[0].New(nil).Check(g) {
		j.found = append(j.found, diagnose(d.policy, j.able[0].Name, p))
	}
	return j
}

func diagnose(p *policy.Policy, name string, problem backend.Problem) policy.Diagnostic {
	severity := policy.Error
	if problem.Warning {
		severity = policy.Warning
	}
	return p.Diagnose(problem.Key, severity, name+": "+problem.Text, problem.Hint)
}

// program is a policy that can be loaded.
type program struct {
	*document
	*automaton.Program
	backend string // as asked for
	judgement
}

// compile reads a policy that must be sound and able to be carried by the
// backends in question.
func (a *app) compile(policyFlag, backendFlag string) (*program, error) {
	d, err := a.sound(policyFlag)
	if err != nil {
		return nil, err
	}
	return a.compiled(d, backendFlag)
}

// compiled does that for a document.
func (a *app) compiled(d *document, backendFlag string) (*program, error) {
	name, err := backendName(d.policy, backendFlag)
	if err != nil {
		return nil, err
	}
	g, err := automaton.Compile(d.policy)
	if err != nil {
		return nil, fail(exitInvalid, fmt.Errorf("compile the policy %s: %w", displayName(d.file), err), "")
	}
	j := judge(d, g, name)
	if len(j.able) == 0 {
		return nil, a.invalid(d.file, j.found)
	}
	return &program{d, g, name, j}, nil
}
