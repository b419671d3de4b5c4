package nftables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tirl/internal/tool"
)

// nft 1.0.6 reads all elements of all tables before it lists one table or chain,
// also with -t; only to list a ruleset with -t, or one set, it reads no more than
// it prints (nft_cache_evaluate, src/cache.c). A pool of one-time values may hold
// millions, which nobody wants to see.

// all reads the table, without the values of the pool.
func (b *Backend) all(ctx context.Context) (*listing, error) {
	l, err := b.objects(ctx)
	if err != nil || l == nil {
		return nil, err
	}
	if l.find(markerSet) == nil {
		return b.list(ctx, "list", "table", "inet", "tirl")
	}
	return l, b.elements(ctx, l, func(o *object) bool { return !inPool(o.name) })
}

// objects reads the table without elements; nil if there is none.
func (b *Backend) objects(ctx context.Context) (*listing, error) {
	text, err := b.nft(ctx, "-t", "list", "ruleset", "inet")
	if err != nil {
		return nil, fmt.Errorf("list table %s: %w", table, permission(err))
	}
	own, ok := ours(text)
	if !ok {
		return nil, nil
	}
	return parseListing(own)
}

// ours cuts a listing down to the table.
func ours(text string) (string, bool) {
	_, text, ok := strings.Cut("\n"+text, "\ntable "+table+" {\n")
	text, _, _ = strings.Cut(text, "\n}")
	return text, ok
}

// elements reads those of the chosen sets and maps.
func (b *Backend) elements(ctx context.Context, l *listing, chosen func(*object) bool) error {
	for i := range l.objects {
		o := &l.objects[i]
		if o.kind != "set" && o.kind != "map" || !chosen(o) {
			continue
		}
		full, err := b.list(ctx, "list", o.kind, "inet", "tirl", o.name)
		if err != nil {
			return err
		}
		if f := full.find(o.name); f != nil {
			o.elements = f.elements
		}
	}
	return nil
}

// list reads what nft prints of the table; nil if it has no such thing.
func (b *Backend) list(ctx context.Context, args ...string) (*listing, error) {
	text, err := b.nft(ctx, args...)
	if err != nil {
		var failed *tool.Error
		if errors.As(err, &failed) && strings.Contains(failed.Stderr, "No such file or directory") {
			return nil, nil
		}
		return nil, fmt.Errorf("list table %s: %w", table, permission(err))
	}
	own, _ := ours(text)
	return parseListing(own)
}

// nft has nft list something. -p: protocols as numbers. To name one, nft reads
// /etc/protocols, for each element anew.
func (b *Backend) nft(ctx context.Context, args ...string) (string, error) {
	return b.run.Run(ctx, "", "nft", append([]string{"-p"}, args...)...)
}
