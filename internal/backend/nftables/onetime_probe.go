package nftables

import (
	"context"
	"fmt"

	"tirl/internal/automaton"
)

// feature is something of nftables that only one-time knocks need.
type feature struct {
	name string
	text string // a table that has it
}

func features() []feature {
	table := func(body string) string { return "table inet tirl_probe {\n" + body + "\n}\n" }
	set := "\tset s {\n\t\ttypeof " + tokenKey + "\n\t\tsize 16\n\t\tflags dynamic\n\t}\n"
	chain := func(rule string) string { return "\tchain c {\n\t\t" + rule + "\n\t}" }
	return []feature{
		{"sets keyed by what a datagram carries (typeof " + tokenKey + ")", table(set)},
		{"maps keyed by what a datagram carries", table("\tmap m {\n\t\ttypeof " + tokenKey + " : meta priority\n\t}\n" +
			chain("meta priority set "+tokenKey+" map @m"))},
		{"deleting elements in the packet path", table(set + chain("delete @s { "+tokenKey+" }"))},
		{"limits in the elements of sets", table(set + chain("update @s { "+tokenKey+" limit rate 1/hour burst 1 packets } accept"))},
	}
}

// lacking says which feature is missing, if rules with users cannot be loaded for
// lack of one. It has nft check them one by one, which changes nothing.
func (b *Backend) lacking(ctx context.Context, g *automaton.Program, err error) error {
	if len(g.Users) == 0 || !refused(err) {
		return err
	}
	for _, f := range features() {
		if _, failed := b.run.Run(ctx, f.text, "nft", "-c", "-f", "-"); failed != nil && refused(failed) {
			return fmt.Errorf("one-time knocks need %s, and this nft or kernel has none: %w", f.name, err)
		}
	}
	return err
}
