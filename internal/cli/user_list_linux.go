package cli

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tirl/internal/automaton"
	"tirl/internal/pool"
)

func (a *app) userListCommand() *cobra.Command {
	file, asJSON := "", false
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the users and what they used last",
		Long: `Show each user of the policy in force, how many values the kernel holds for him,
which value was used last, and from where. Nothing that is still worth anything is
shown. If no policy is loaded it shows the users of the policy file.`,
		Example: `  sudo tirl user list
  sudo tirl user list --json | jq -r '.users[] | select(.state != "ready").user'`,
		Args: noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("read the users"); err != nil {
				return err
			}
			all, err := a.userInfos(cmd.Context(), file)
			if err != nil {
				return a.explainFailure(err)
			}
			if asJSON {
				return a.printJSON(struct {
					Users []userJSON `json:"users"`
				}{usersJSON(all)})
			}
			if len(all) == 0 {
				return a.print("no users\n")
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "USER\tDOOR\tBY\tVALUES\tSTATE\tLAST USED")
			for _, i := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\t%d of %d\t%s\t%s\n", i.User, i.Door, i.Kind, i.Live, i.Pool, userState(i), lastUse(i))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			a.userHints(all)
			return nil
		}),
	}
	policyFlag(cmd, &file)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// userInfos tells of the users of the policy in force, else of those of the file.
func (a *app) userInfos(ctx context.Context, file string) ([]pool.Info, error) {
	k := a.engine().Keeper()
	if k.Program == nil {
		d, err := a.sound(file)
		if err != nil {
			return nil, err
		}
		if k.Program, err = automaton.Compile(d.policy); err != nil {
			return nil, err
		}
	}
	return k.Users(ctx)
}

// userState is a word for how a user stands.
func userState(i pool.Info) string {
	switch {
	case i.Problem != nil:
		return "shut out"
	case i.Empty():
		return "empty"
	case i.Lost:
		return "out of reach"
	case i.Low():
		return "low"
	case i.AtRisk:
		return "at risk"
	}
	return "ready"
}

// lastUse says which value was used last, and from where.
func lastUse(i pool.Info) string {
	if len(i.Uses) == 0 {
		return "never"
	}
	u := i.Uses[len(i.Uses)-1]
	return fmt.Sprintf("value %d, %s, %s", u.Number, sourceNames(u.Sources), moment(u.Seen))
}

func sourceNames(sources []netip.Addr) string {
	if len(sources) == 0 {
		return "from nobody knows where"
	}
	texts := make([]string, len(sources))
	for i, s := range sources {
		texts[i] = s.String()
	}
	return "from " + strings.Join(texts, " or ")
}

// userTrouble says what is wrong with a user's values; empty if nothing is.
func userTrouble(i pool.Info) (text, hint string) {
	who := fmt.Sprintf("user %s of door %s", i.User, i.Door)
	again := fmt.Sprintf("sudo tirl export %s gives his machine the present number; or there: tirl knock --from-block %d HOST %s", i.User, i.Block, i.Door)
	switch {
	case i.Problem != nil:
		return fmt.Sprintf("%s is shut out: %v", who, i.Problem), keyHint(i.Name, i.Problem)
	case i.Empty():
		return who + " is shut out: the kernel holds no values of his", "sudo tirl user refill"
	case i.Lost:
		return fmt.Sprintf("%s may be shut out: since he came in last the host has lost its values so often (%d times) that his machine does not look as far", who, i.Losses), again
	case i.Low():
		return fmt.Sprintf("%s has %d values left of %d", who, i.Live, i.Pool), "sudo tirl user refill; is the timer tirl-refill.timer running?"
	case i.AtRisk && i.Losses > 0:
		return fmt.Sprintf("%s has not come in since the host lost its values (%s): after the next time his machine may not look as far", who, times(i.Losses)), again
	}
	return "", ""
}

// times counts how often something was.
func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// userJSON is a user for programs.
type userJSON struct {
	User    string    `json:"user"`
	Door    string    `json:"door"`
	OneTime string    `json:"one_time"`
	Live    int       `json:"live"`
	Pool    int       `json:"pool"`
	Block   uint64    `json:"block"` // for tirl knock --from-block
	State   string    `json:"state"` // ready, low, at risk, out of reach, empty, shut out
	Problem string    `json:"problem,omitempty"`
	Losses  int       `json:"losses"` // of all values, since the last use
	Uses    []useJSON `json:"uses"`   // the last ones
}

type useJSON struct {
	Value   uint64       `json:"value"`
	Sources []netip.Addr `json:"sources"`
	Seen    time.Time    `json:"seen"` // by a refill, a minute after it at most
}

func usersJSON(all []pool.Info) []userJSON {
	out := []userJSON{}
	for _, i := range all {
		u := userJSON{User: i.User, Door: i.Door, OneTime: string(i.Kind), Live: i.Live, Pool: i.Pool, Block: i.Block, State: userState(i), Losses: i.Losses, Uses: []useJSON{}}
		if i.Problem != nil {
			u.Problem = i.Problem.Error()
		}
		for _, use := range i.Uses {
			u.Uses = append(u.Uses, useJSON{use.Number, append([]netip.Addr{}, use.Sources...), use.Seen})
		}
		out = append(out, u)
	}
	return out
}
