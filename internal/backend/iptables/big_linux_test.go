package iptables

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// The largest policy that Check allows can be loaded, in a time that a person
// waits, and its last door opens.
func TestLargestPolicy(t *testing.T) {
	const doors = maxPlaces / 3
	both(t, func(t *testing.T, h *host, v6 bool) {
		policy := deep(doors)
		for i := range doors {
			policy = strings.Replace(policy, "tcp/22\"", fmt.Sprintf("tcp/%d\"", 40000+2*i), 1)
		}
		g := program(t, policy)
		begin := time.Now()
		if err := h.backend.Load(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		t.Logf("loaded in %v", time.Since(begin))
		d := g.Doors[doors-1]
		all := append(d.Knocks[:4:4], tcp(g.Classes[d.Class].Services[0].First))
		if through := h.sendAll(knocks(1, v6, all...)); !through[4] {
			t.Error("the last door does not open")
		}
	})
}
