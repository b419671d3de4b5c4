//go:build !linux

package cli

import (
	"context"
	"errors"

	"tirl/internal/automaton"
)

// liveRules fails: there is no netfilter here.
func (a *app) liveRules(context.Context, *automaton.Program) (*proof, error) {
	return nil, fail(exitUnsupported, errors.New("only Linux has rules to be read"), "tirl verify, without --live")
}
