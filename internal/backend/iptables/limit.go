package iptables

import (
	"fmt"
	"time"

	"tirl/internal/automaton"
)

// A bucket is an entry of a hashlimit table, which fills up by itself and starts
// full. That a source has one is an entry of the list BUSY, refreshed by each
// packet that asks the bucket, for a match of hashlimit makes the entry that it
// asks. A bucket that was left alone for BucketLife is full, so that an entry of
// hashlimit which outlives the one in BUSY is the same as none. What changes the
// place of a source takes a token even if BUSY forgot the source.

// maxPerSource is what --hashlimit-burst can count, BucketDepth seconds of it
// (XT_HASHLIMIT_BURST_MAX, extensions/libxt_hashlimit.c).
const maxPerSource = 1_000_000 / automaton.BucketDepth

// maxBuckets is what --hashlimit-htable-size may be (HASHLIMIT_MAX_SIZE,
// net/netfilter/xt_hashlimit.c, since 5.6).
const maxBuckets = 1 << 20

// listen takes a token of a source that has a bucket, and turns the packet away
// if there is none: it is not heard.
func (b *builder) listen(chain string) {
	b.rule(chain, b.busy("--update")+" "+b.over(), b.unheard(), "a source that sends more than its share is not heard")
}

// pay takes a token of a source that has no bucket yet, and gives it one. It
// stands before what changes a place. A packet that listen charged does not pay
// again, for listen has just refreshed BUSY.
func (b *builder) pay(chain string) {
	b.rule(chain, b.busy("! --rcheck")+" "+b.over(), b.end, "the first change of place makes the bucket")
	b.rule(chain, b.recent("--set", b.list("BUSY"), b.bucketMask()), "", "the source has a bucket")
}

func (b *builder) busy(how string) string {
	return b.recent(fmt.Sprintf("%s --seconds %d", how, automaton.BucketLife/time.Second), b.list("BUSY"), b.bucketMask())
}

// over matches if the bucket of the source is empty; if not, it takes a token.
// The table is sized well above what is tracked, since a packet that finds it
// full is dropped, which in guard mode shows a knock port.
func (b *builder) over() string {
	n, sources := b.g.PerSource, max(b.g.Sources, 1)
	mask := ""
	if b.fam.v6 {
		mask = " --hashlimit-srcmask 64"
	}
	return fmt.Sprintf("-m hashlimit --hashlimit-above %d/sec --hashlimit-burst %d --hashlimit-mode srcip%s"+
		" --hashlimit-name %s --hashlimit-htable-size %d --hashlimit-htable-max %d --hashlimit-htable-expire %d",
		n, n*automaton.BucketDepth, mask, b.list("LIMIT"),
		min(max(sources, 1024), maxBuckets), max(4*sources, 65536), automaton.BucketLife/time.Millisecond)
}

// bucketMask is what counts as one source for the bucket.
func (b *builder) bucketMask() string {
	if b.fam.v6 {
		return mask64
	}
	return ""
}
