package bench

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// kernelMemory is what the kernel has taken for itself: objects that are in use, and large
// areas. The pages of its caches do not tell: those that were filled once and are half empty
// take in much before there are more of them.
func kernelMemory() (bytes int64, err error) {
	objects, pages, err := slabs()
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read what the kernel takes: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		// In Slab are large kmalloc areas, too (mm/slub.c), which are in no cache.
		if words[0] == "Slab:" || words[0] == "VmallocUsed:" {
			n, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read /proc/meminfo: %w", err)
			}
			bytes += n << 10
		}
	}
	return bytes - pages + objects, nil
}

// slabs reads what the objects in use take of the kernel's caches, and what the caches
// take: slabinfo(5).
func slabs() (objects, pages int64, err error) {
	text, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return 0, 0, fmt.Errorf("read the kernel's caches: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "slabinfo") || strings.HasPrefix(line, "#") {
			continue
		}
		var name string
		var active, all, size, perSlab, slabPages, slabs int64
		head, data, ok := strings.Cut(line, ": slabdata")
		if _, e := fmt.Sscan(head, &name, &active, &all, &size, &perSlab, &slabPages); e != nil || !ok {
			return 0, 0, fmt.Errorf("read /proc/slabinfo: %q: %w", strings.TrimSpace(line), e)
		}
		if _, err := fmt.Sscan(data, new(int64), &slabs); err != nil {
			return 0, 0, fmt.Errorf("read /proc/slabinfo: %q: %w", strings.TrimSpace(line), err)
		}
		objects += active * size
		pages += slabs * slabPages * int64(os.Getpagesize())
	}
	return objects, pages, nil
}

// settledMemory is kernelMemory when it does not change any more: namespaces that were
// given up are cleared away in the background.
func settledMemory(ctx context.Context) (int64, error) {
	last, err := kernelMemory()
	for range 40 {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
		if err != nil {
			return 0, err
		}
		var bytes int64
		bytes, err = kernelMemory()
		if change := bytes - last; -1<<20 < change && change < 1<<20 {
			break
		}
		last = bytes
	}
	return last, err
}
