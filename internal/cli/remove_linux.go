package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove",
		Short: "Take the policy out of the kernel",
		Long: `Take every rule of tirl out of the kernel, whichever backend holds it, and forget
what was loaded. The host is then as it was before the first apply: hidden
services can be reached by everybody, unless another firewall is in the way.
Open connections live on. The policy file stays.`,
		Example: `  sudo tirl remove`,
		GroupID: groupLoad,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("remove rules"); err != nil {
				return err
			}
			removed, err := a.engine().Remove(cmd.Context())
			for _, name := range removed {
				if err := a.print(name + ": removed\n"); err != nil {
					return err
				}
			}
			if err != nil {
				return a.explainFailure(err)
			}
			if len(removed) == 0 {
				return a.print("nothing was loaded\n")
			}
			a.warn("the doors are open: what they hid can be reached by everybody, unless another firewall is in the way")
			return nil
		}),
	}
}
