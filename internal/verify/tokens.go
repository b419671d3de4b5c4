package verify

import (
	"time"

	"tirl/internal/verify/ruleset"
)

// tokens counts as net/netfilter/nft_limit.c does: in nanoseconds of credit. A bucket
// keeps the numbers that it was made with, whatever rule asks it later.
type tokens struct {
	credit, last time.Duration
	limit        ruleset.Limit
}

func newTokens(l ruleset.Limit, at time.Duration) *tokens {
	t := &tokens{last: at, limit: l}
	t.credit = t.depth()
	return t
}

// cost is what a packet costs, depth how much there can be.
func (t *tokens) cost() time.Duration  { return t.limit.Per / time.Duration(max(t.limit.Count, 1)) }
func (t *tokens) depth() time.Duration { return t.cost() * time.Duration(t.limit.Burst) }

// ask takes a token, if there is one, and says whether the limit holds.
func (t *tokens) ask(at time.Duration) bool {
	t.credit = min(t.depth(), t.credit+at-t.last)
	t.last = at
	if t.credit < t.cost() {
		return t.limit.Over
	}
	t.credit -= t.cost()
	return !t.limit.Over
}
