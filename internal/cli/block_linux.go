package cli

import (
	"github.com/spf13/cobra"

	"tirl/internal/apply"
	"tirl/internal/backend"
)

func (a *app) blockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "block",
		Short: "Shut all doors until unblock",
		Long: `Shut all doors at once: every grant and all progress is dropped, no knock is
heard and nobody is let in until tirl unblock. Established sessions live on, and
trust still holds, as the way back. What no door hides stays as it is.

A block outlives tirl apply and a rollback. It ends with tirl unblock, with
tirl remove, and with whatever takes the rules out: a reboot, a flush by others.`,
		Example: `  sudo tirl block
  sudo tirl unblock`,
		GroupID: groupLoad,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.operate(cmd, "block all doors", func(hands []backend.Operator, _ *apply.Status) error {
				for _, op := range hands {
					if err := op.Block(cmd.Context()); err != nil {
						return err
					}
				}
				return a.print("all doors are blocked; tirl unblock ends it\n")
			})
		}),
	}
}

func (a *app) unblockCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unblock",
		Short: "End a block: doors open to those who knock",
		Long: `End what tirl block began. Doors are shut as after tirl apply, and open to whoever
knocks. Grants that the block dropped do not come back.`,
		Example: `  sudo tirl unblock`,
		GroupID: groupLoad,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			return a.operate(cmd, "end the block", func(hands []backend.Operator, s *apply.Status) error {
				for _, op := range hands {
					if err := op.Unblock(cmd.Context()); err != nil {
						return err
					}
				}
				if !s.Loaded.Blocked && len(hands) == 1 {
					return a.print("nothing was blocked\n")
				}
				return a.print("doors open again to those who knock\n")
			})
		}),
	}
}
