package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tirl/internal/backend"
	"tirl/internal/diagram"
	"tirl/internal/policy"
	"tirl/internal/term"
)

// Formats of render, beside rules.
const (
	formatRules   = "rules"
	formatText    = "text"
	formatDOT     = "dot"
	formatMermaid = "mermaid"
	formatSVG     = "svg"
)

func formats() []string {
	return []string{formatRules, formatText, formatDOT, formatMermaid, formatSVG}
}

type renderFlags struct {
	policy, backend, format, family string
	asJSON                          bool
}

func (a *app) renderCommand() *cobra.Command {
	var f renderFlags
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print the rules of a policy, or draw it",
		Long: `Print the rules that apply loads, to be read, or to be loaded by hand: the rules
of nftables with nft -f, those of iptables with iptables-restore --noflush and
ip6tables-restore --noflush. Iptables has a file for each family; --family
prints one of them just as it is loaded.

It needs no root and asks nothing of this host. If the policy leaves the backend
to tirl, the rules are those of nftables, unless only iptables can carry it.

Other formats draw the places of the automaton: text for the terminal, dot for
Graphviz, mermaid, and svg as a picture.`,
		Example: `  tirl render | sudo nft -c -f -
  tirl render --backend iptables --family ipv4 | sudo iptables-restore --noflush
  tirl render --format svg > policy.svg`,
		GroupID: groupLook,
		Args:    noArguments,
		RunE: a.run(func(*cobra.Command, []string) error {
			if !slices.Contains(formats(), f.format) {
				return usage("one of "+strings.Join(formats(), ", "), "there is no format %q", f.format)
			}
			if f.family != "" && !slices.Contains(families(), f.family) {
				return usage("--family ipv4 or --family ipv6", "there is no family %q", f.family)
			}
			if f.asJSON && (f.format != formatRules || f.family != "") {
				return usage("tirl render --json", "--json is for all rules at once")
			}
			return a.render(f)
		}),
	}
	policyFlag(cmd, &f.policy)
	backendFlag(cmd, &f.backend)
	cmd.Flags().StringVar(&f.format, "format", formatRules, "what to print: "+strings.Join(formats(), ", "))
	cmd.Flags().StringVar(&f.family, "family", "", "with the rules of iptables, one `family` only: ipv4 or ipv6")
	jsonFlag(cmd, &f.asJSON)
	complete(cmd, "format", formats())
	complete(cmd, "family", families())
	return cmd
}

func families() []string { return []string{"ipv4", "ipv6"} }

func (a *app) render(f renderFlags) error {
	p, err := a.compile(f.policy, f.backend)
	if err != nil {
		return err
	}
	switch f.format {
	case formatText:
		return a.print(diagram.Text(p.Program, diagram.TextOptions{Width: term.Width(a.out), ASCII: !a.utf8()}))
	case formatDOT:
		return a.print(diagram.DOT(p.Program))
	case formatMermaid:
		return a.print(diagram.Mermaid(p.Program))
	case formatSVG:
		return a.print(string(diagram.SVG(p.Program)))
	}
	kind := p.able[0]
	rules, err := kind.New(nil).Render(p.Program)
	if err != nil {
		return fmt.Errorf("render for %s: %w", kind.Name, err)
	}
	if f.asJSON {
		return a.printJSON(rulesReport(kind.Name, p.PolicyHash, rules))
	}
	if f.family != "" {
		return a.renderFamily(rules, kind.Name, f.family)
	}
	for i, file := range rules {
		if len(rules) > 1 {
			gap := ""
			if i > 0 {
				gap = "\n"
			}
			if err := a.print(fmt.Sprintf("%s# %s, loaded with: %s\n", gap, file.Name, strings.Join(file.Load, " "))); err != nil {
				return err
			}
		}
		if err := a.print(file.Text); err != nil {
			return err
		}
	}
	return nil
}

// rulesJSON is what render prints for programs.
type rulesJSON struct {
	Backend    string     `json:"backend"`
	PolicyHash string     `json:"policy_hash"`
	Files      []fileJSON `json:"files"`
}

type fileJSON struct {
	Name string   `json:"name"`
	Load []string `json:"load"` // the command that loads it from standard input
	Text string   `json:"text"`
}

func rulesReport(name, hash string, rules backend.Ruleset) rulesJSON {
	out := rulesJSON{Backend: name, PolicyHash: hash}
	for _, f := range rules {
		out.Files = append(out.Files, fileJSON{f.Name, f.Load, f.Text})
	}
	return out
}

// renderFamily prints one file of the iptables backend. The file of IPv6 is the
// one whose name says so.
func (a *app) renderFamily(rules backend.Ruleset, name, family string) error {
	if name != policy.BackendIptables {
		return usage("leave --family out, or add --backend "+policy.BackendIptables,
			"the rules of %s are for both families at once", name)
	}
	for _, file := range rules {
		if strings.Contains(file.Name, "ip6") == (family == "ipv6") {
			return a.print(file.Text)
		}
	}
	return errors.New("the backend has no rules of " + family)
}

func (a *app) print(text string) error {
	_, err := io.WriteString(a.out, text)
	return err
}

// utf8 says whether the locale has the characters of drawings. Windows and macOS
// have them without saying so.
func (a *app) utf8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(a.getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return !posixLocale
}
