package nftables

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
)

// records are what packets note of the values that they spend: the elements of
// each value by what it is known by, a token or the last place of a sequence.
type records struct {
	order []string
	of    map[string]*record
}

type record struct {
	spent    backend.Spent
	elements []entry // in the sets of what is spent and who spent it
	noted    bool    // that it is spent; else only by whom
}

// Spent implements backend.Pool. It reads what was spent since nobody dropped it,
// never what is live: that may be a million.
func (b *Backend) Spent(ctx context.Context) ([]backend.Spent, error) {
	r, err := b.records(ctx)
	if err != nil {
		return nil, fmt.Errorf("read which one-time values are spent: %w", err)
	}
	var all []backend.Spent
	for _, key := range r.order {
		if s := r.of[key]; s.noted {
			all = append(all, s.spent)
		}
	}
	return all, nil
}

func (b *Backend) records(ctx context.Context) (*records, error) {
	r := &records{of: make(map[string]*record)}
	for _, name := range []string{spentTokens, spentPaths, "used_token4", "used_token6", "used_path4", "used_path6"} {
		l, err := b.list(ctx, "list", "set", "inet", "tirl", name)
		if err != nil {
			return nil, err
		}
		o := l.find(name)
		if o == nil {
			continue
		}
		for _, text := range o.elements {
			if err := r.add(name, text); err != nil {
				return nil, fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	return r, nil
}

func (r *records) add(set, text string) error {
	e, err := parseElement(text)
	if err != nil {
		return err
	}
	key := e.key[len(e.key)-1]
	known := r.of[key]
	if known == nil {
		known = &record{}
		if strings.HasPrefix(key, "0x") {
			known.spent.Token, err = parseToken(key)
		} else {
			known.spent.Place, err = parseHandle(key)
		}
		if err != nil {
			return err
		}
		r.of[key], r.order = known, append(r.order, key)
	}
	known.elements = append(known.elements, entry{set, strings.Join(e.key, " . "), ""})
	if len(e.key) == 1 {
		known.noted = true
		return nil
	}
	source, err := netip.ParseAddr(e.key[0])
	if err != nil {
		return fmt.Errorf("read a source: %w", err)
	}
	known.spent.Sources = append(known.spent.Sources, source)
	return nil
}

// parseToken reads a token as nft prints it: without the zeros in front.
func parseToken(s string) (token [16]byte, err error) {
	digits := strings.TrimPrefix(s, "0x")
	if len(digits) > 2*len(token) {
		return token, fmt.Errorf("%d digits are no token", len(digits))
	}
	_, err = hex.Decode(token[:], []byte(strings.Repeat("0", 2*len(token)-len(digits))+digits))
	if err != nil {
		return token, fmt.Errorf("read a token: %w", err)
	}
	return token, nil
}

// recordKey is what records of a value are known by, as nft prints it.
func recordKey(v automaton.Value) string {
	if len(v.Knocks) > 0 {
		return handle(automaton.PathPlace(v.Serial, len(v.Knocks)-1))
	}
	return tokenText(v.Token)
}
