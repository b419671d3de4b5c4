package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/backend"
)

func (a *app) revokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke SOURCE [DOOR]",
		Short: "Take back what an address has",
		Long: `Take from an address what is open to it, by knock or by grant, and how far it has
knocked: for one door, or for all. Doors with the same services and the same time
share their grants. Established sessions live on, and it may knock again: to keep
it out, change the knocks.`,
		Example: `  sudo tirl revoke 192.0.2.7
  sudo tirl revoke 2001:db8::7 ssh`,
		GroupID: groupLoad,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usage("tirl revoke 192.0.2.7", "revoke takes an address and perhaps a door")
			}
			return nil
		},
		RunE: a.run(func(cmd *cobra.Command, args []string) error {
			source, err := sourceAddress(args[0])
			if err != nil {
				return err
			}
			return a.operate(cmd, "revoke what an address has", func(hands []backend.Operator, s *apply.Status) error {
				g, door := a.view(s, "").program, -1
				if len(args) == 2 {
					if door, err = doorNamed(g, args[1]); err != nil {
						return err
					}
				}
				taken := 0
				for _, op := range hands {
					n, err := op.Revoke(cmd.Context(), g, door, source)
					if err != nil {
						return err
					}
					taken += n
				}
				if taken == 0 {
					return a.print(fmt.Sprintf("%s had nothing\n", network(g, source)))
				}
				return a.print(fmt.Sprintf("%s: revoked\n", network(g, source)))
			})
		}),
	}
}
