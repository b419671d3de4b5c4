package iptables

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"
)

// clock is the time in the unit of the recent match.
type clock struct {
	jiffies uint64
	hz      uint64 // jiffies in a second; 0: not known
}

// clock reads /proc/timer_list, which only root may do. There is no other file
// with the present jiffies.
func (b *Backend) clock(ctx context.Context) clock {
	out, err := b.run.Run(ctx, "", "cat", "/proc/timer_list")
	if err != nil {
		return clock{}
	}
	return parseClock(out)
}

// rates are the values of HZ of the kernel's architectures.
var rates = [...]uint64{24, 48, 100, 128, 250, 256, 300, 1000, 1024, 1200}

// parseClock finds the jiffies and, from them and the time since boot, their
// rate, which no file tells. Jiffies start 300 seconds before they would need a
// 33rd bit (INITIAL_JIFFIES, include/linux/jiffies.h) and follow the monotonic
// clock. In that moment all rates look alike.
func parseClock(text string) clock {
	var c clock
	var up float64
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if s, ok := strings.CutPrefix(line, "now at "); ok {
			up, _ = strconv.ParseFloat(strings.TrimSuffix(s, " nsecs"), 64)
			up /= float64(time.Second)
		}
		if s, ok := strings.CutPrefix(line, "jiffies: "); ok {
			if n, err := strconv.ParseUint(s, 10, 64); err == nil {
				c.jiffies = max(c.jiffies, n)
			}
		}
	}
	if up == 0 || c.jiffies == 0 {
		return clock{}
	}
	best, next := math.Inf(1), math.Inf(1)
	for _, hz := range rates {
		off := math.Abs(float64(c.jiffies) - (1<<32 + float64(hz)*(up-300)))
		if off < best {
			best, next, c.hz = off, best, hz
		} else {
			next = min(next, off)
		}
	}
	// Jiffies begin some ticks late, and the file takes a moment to read: together
	// well below half a second.
	if best > float64(c.hz)/2 || next < float64(c.hz) {
		return clock{}
	}
	return c
}

// left gives how long an entry last seen at a time still counts; -1 if the clock
// is not known. It is not live when it counts no longer.
func (c clock) left(seen uint64, timeout time.Duration) (left time.Duration, live bool) {
	if c.hz == 0 {
		return -1, true
	}
	age := int64(c.jiffies - seen)
	left = timeout - time.Duration(float64(age)/float64(c.hz)*float64(time.Second))
	return min(left, timeout), left > 0
}
