package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tirl/internal/importer"
	"tirl/internal/verify/account"
	"tirl/internal/verify/parse"
)

const importRulesLong = `
Doors are found by what the rules do, not by names: packets are sent at them in a
model of the kernel, and what gets in after a sequence, and not without, is a door.
Then the policy is held against the rules for all sequences of packets: either they
are proved to mean the same, and on which assumptions, or the shortest sequence that
tells them apart is shown. All of this is said in the policy too.

Exit status: 4 if the text cannot be loaded, 5 if something could not be carried over
and is a comment in the policy. A difference in meaning is told, and is no failure.`

func (a *app) importIptablesCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "iptables FILE",
		Short: "Make a policy out of a recipe of iptables",
		Long: `Make a policy out of rules of iptables that knocking opens: what iptables-save
prints, or a shell script of iptables and ip6tables commands, which is read and not
run. The name - stands for standard input.
` + importRulesLong,
		Example: `  tirl import iptables knock.sh > policy.toml
  sudo iptables-save | tirl import iptables - > policy.toml`,
	}
	return a.importRulesCommand(cmd, &f, false)
}

func (a *app) importNftablesCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "nftables FILE",
		Short: "Make a policy out of a recipe of nftables",
		Long: `Make a policy out of rules of nftables that knocking opens: what nft -f reads and
nft list ruleset prints. The name - stands for standard input.
` + importRulesLong,
		Example: `  tirl import nftables /etc/nftables.conf > policy.toml
  sudo nft list ruleset | tirl import nftables - > policy.toml`,
	}
	return a.importRulesCommand(cmd, &f, true)
}

func (a *app) importRulesCommand(cmd *cobra.Command, f *importFlags, isNft bool) *cobra.Command {
	cmd.Args = oneSource
	cmd.ValidArgsFunction = cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)
	cmd.RunE = a.run(func(_ *cobra.Command, args []string) error { return a.importRules(*f, args[0], isNft) })
	f.add(cmd)
	return cmd
}

func (a *app) importRules(f importFlags, file string, isNft bool) error {
	text, err := a.readImport(file, "rules")
	if err != nil {
		return err
	}
	done := a.busy("reading " + displayName(file))
	r, err := importer.Rules(displayName(file), text, isNft, a.importHost(f))
	done()
	if kind, ok := errors.AsType[*importer.KindError](err); ok {
		other := "iptables"
		if kind.Kind == parse.Nftables {
			other = "nftables"
		}
		return fail(exitInvalid, fmt.Errorf("%s has rules of %s", displayName(file), other), "tirl import "+other+" "+file)
	} else if err != nil {
		return fail(exitInvalid, fmt.Errorf("%s: %w", displayName(file), err), "")
	}
	return a.imported(f, file, r)
}

// proofReport is how a policy compares with the rules that it was made of.
type proofReport struct {
	Proved      bool     `json:"proved"`
	Assumptions []string `json:"assumptions,omitempty"`
	Told        []string `json:"told"`             // one line for each thing to say
	Sweeps      int      `json:"sweeps,omitempty"` // plain port sweeps that the rules open to
	Packets     []string `json:"packets,omitempty"`
}

func proofJSON(p *importer.Proof) *proofReport {
	if p == nil {
		return nil
	}
	out := &proofReport{Proved: p.Proved, Assumptions: p.Assumptions, Told: p.Told, Sweeps: p.Sweeps}
	if len(p.Differences) > 0 {
		out.Packets = account.Packets(p.Differences[0])
	}
	return out
}
