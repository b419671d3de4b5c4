package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"tirl/internal/backend"
	"tirl/internal/policy"
)

// printMetrics prints what is counted, whatever the state is.
func (a *app) printMetrics(ctx context.Context, v *view) error {
	for _, err := range v.Unread {
		a.warn("%v", err)
	}
	c, err := a.counters(ctx, v)
	if err != nil {
		return err
	}
	return a.print(v.metrics(c))
}

// metrics writes a status in the text format of Prometheus, for node_exporter's
// textfile collector. c is nil if nothing is counted.
func (v *view) metrics(c *backend.Counters) string {
	var b strings.Builder
	metric := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	gauge := func(name, help string, value int) {
		metric(name, "gauge", help)
		fmt.Fprintf(&b, "%s %d\n", name, value)
	}
	gauge("tirl_active", "Whether a policy is loaded.", number(v.Active()))
	gauge("tirl_drifted", "Whether somebody has changed or removed the rules since they were loaded.", number(v.Drifted || v.Flushed != nil))
	if !v.Active() {
		return b.String()
	}
	gauge("tirl_blocked", "Whether an administrator has blocked all doors.", number(v.Loaded.Blocked))
	gauge("tirl_rules", "Rules in the kernel.", v.Loaded.Rules)
	gauge("tirl_sources", "Sources that have begun to knock.", len(v.sources))
	if n := v.capacity(); n > 0 {
		gauge("tirl_sources_capacity", "Sources of one family that can stand at one of the places that are kept together.", n)
	}
	gauge("tirl_grants", "Grants that are open.", len(v.grants))
	if c == nil {
		return b.String()
	}
	metric("tirl_events_total", "counter", "What happened at the doors.")
	for _, e := range []struct {
		name  string
		value uint64
	}{
		{backend.EventOpened, c.Opened}, {backend.EventAccepted, c.Accepted},
		{backend.EventWrong, c.Wrong}, {backend.EventLimited, c.Limited},
	} {
		fmt.Fprintf(&b, "tirl_events_total{event=%q} %d\n", e.name, e.value)
	}
	metric("tirl_opened_total", "counter", "How often a door was opened by a knock since this policy was loaded.")
	for i, d := range v.program.Doors {
		fmt.Fprintf(&b, "tirl_opened_total{door=%s} %d\n", label(d.Name), c.Doors[i])
	}
	return b.String()
}

// capacity is how many sources the backend keeps in one table; 0 if it is not known.
func (v *view) capacity() int {
	if v.Backend == policy.BackendIptables {
		text, err := os.ReadFile("/sys/module/xt_recent/parameters/ip_list_tot")
		n, err2 := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil || err2 != nil {
			return 0
		}
		return n
	}
	if v.program == nil {
		return 0
	}
	return v.program.Sources
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// label quotes as the text format wants it: a backslash before itself, a quote and
// the end of a line.
func label(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
