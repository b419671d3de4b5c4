package automaton

import "time"

// bucket limits what is heard of a source. Time is counted as the kernel's limit
// expression counts it (net/netfilter/nft_limit.c): in nanoseconds of credit.
type bucket struct {
	credit time.Duration
	last   time.Duration // when it was last asked
}

// pay takes a token for a heard packet. A source without a bucket pays nothing,
// unless the packet changes its place: that makes one. False: it is empty.
func (in *Interpreter) pay(p Packet, change bool) bool {
	key := in.key(p)
	if p.Src.Is6() {
		key.addr = mask(p.Src, 64)
	}
	b := in.buckets[key]
	if b != nil && in.now-b.last >= BucketLife {
		delete(in.buckets, key)
		b = nil
	}
	cost := time.Second / time.Duration(in.g.PerSource)
	depth := cost * time.Duration(in.g.PerSource*BucketDepth)
	if b == nil {
		if change {
			in.buckets[key] = &bucket{depth - cost, in.now}
		}
		return true
	}
	b.credit = min(depth, b.credit+in.now-b.last)
	b.last = in.now
	if b.credit < cost {
		return false
	}
	b.credit -= cost
	return true
}
