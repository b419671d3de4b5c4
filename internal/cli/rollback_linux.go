package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"tirl/internal/apply"
)

func (a *app) rollbackCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rollback",
		Short: "Go back to the rules before the last apply",
		Long: `Put back what was there before the last apply: at once if it waits to be
confirmed, else what the last confirmed policy has replaced. Doors that were open
to somebody are open again for the rest of their time, where the kernel can (see
docs/safety.md). Rules of others stay as they are.

Typed again when nothing waits, it goes forward to what it took out.`,
		Example: `  sudo tirl rollback`,
		GroupID: groupLoad,
		Args:    noArguments,
		RunE: a.run(func(cmd *cobra.Command, _ []string) error {
			if err := a.needRoot("load rules"); err != nil {
				return err
			}
			res, err := a.engine().Rollback(cmd.Context())
			if err != nil {
				return a.explainFailure(err)
			}
			a.warnings(res.Warnings)
			return a.print("rolled back: " + described(res.Before) + "\n")
		}),
	}
}

// described says what an order has put back.
func described(o *apply.Order) string {
	if o.Empty() {
		return "nothing is loaded"
	}
	var rec apply.Record
	if err := json.Unmarshal(o.Record, &rec); err != nil {
		return "to rules that nobody has recorded"
	}
	return rec.Backend + ", policy " + short(rec.PolicyHash) + ", of " + moment(rec.Applied)
}
