package apply

import (
	"context"
	"errors"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/policy"
	"tirl/internal/tool"
)

// drifted says whether the rules in the kernel are other than those that were
// loaded. An nft or iptables that was replaced meanwhile may list the same rules
// in other words, which is no drift: so where the listing differs, the recorded
// policy is loaded into a private namespace and listed there by the same program.
func (e *Engine) drifted(ctx context.Context, rec *Record, loaded *backend.Loaded) bool {
	if rec.Kernel == loaded.Text {
		return false
	}
	again, err := e.relist(ctx, rec)
	return err != nil || again != loaded.Text
}

// relist gives what the kernel lists of a recorded load today.
func (e *Engine) relist(ctx context.Context, rec *Record) (string, error) {
	p, found := policy.Parse(rec.PolicyFile, []byte(rec.Policy))
	if found.HasErrors() {
		return "", errors.New("the recorded policy is not one that this tirl accepts")
	}
	g, err := automaton.Compile(p)
	if err != nil {
		return "", err
	}
	kinds, err := e.asked(rec.Backend)
	if err != nil {
		return "", err
	}
	var text string
	err = e.Scratch(ctx, func(run tool.Runner) error {
		b := kinds[0].New(run)
		if err := b.Load(ctx, g); err != nil {
			return err
		}
		loaded, err := readBack(ctx, b, g)
		if err == nil {
			text = loaded.Text
		}
		return err
	})
	return text, err
}
