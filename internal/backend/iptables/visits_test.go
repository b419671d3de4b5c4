package iptables

import (
	"fmt"
	"strings"
	"testing"
)

// The kernel follows every way through the chains when it validates them, with
// older kernels again for each rule that leads to a chain. The largest policy
// must not keep it busy for more than a moment.
func TestWaysThroughChains(t *testing.T) {
	const doors, limit = maxPlaces / 3, 20_000_000
	policy := deep(doors)
	for i := range doors {
		policy = strings.Replace(policy, "tcp/22\"", fmt.Sprintf("tcp/%d\"", 40000+2*i), 1)
	}
	for _, events := range []string{"none", "kernel", "nflog"} {
		for _, mode := range []string{"", "mode = \"firewall\"\n"} {
			chains := make(map[string]chain)
			for _, c := range build(program(t, mode+policy+"\n[log]\nevents = \""+events+"\"\n"), families[0]).tables[0].chains {
				chains[c.name] = c
			}
			known := make(map[string]int)
			var visits func(name string, depth int) int
			visits = func(name string, depth int) int {
				if depth > 14 { // NFT_JUMP_STACK_SIZE is 16
					t.Fatalf("%s is too deep", name)
				}
				if known[name] == 0 {
					for _, rule := range chains[name].rules {
						known[name]++
						if to := target(rule); ours(to) {
							known[name] += visits(to, depth+1)
						}
					}
				}
				return known[name]
			}
			if n := visits(main, 1); n > limit {
				t.Errorf("%s, %s%d rules on all ways together", events, mode, n)
			} else {
				t.Logf("%s, %s%d rules on all ways together", events, mode, n)
			}
		}
	}
}

func TestHidden(t *testing.T) {
	for want, opens := range map[string]string{
		"-p tcp --dport 22":                                         `"tcp/22"`,
		"-p tcp --dport 22:25":                                      `"tcp/22-25"`,
		"-p tcp --dport 22; -p udp --dport 500":                     `"tcp/22", "udp/500"`,
		"-p tcp -m multiport --dports 22,30:40; -p udp --dport 500": `"tcp/30-40", "tcp/22", "udp/500"`,
		"-p tcp -m multiport --dports 1:2,4:5,7:8,10:11,13:14,16:17,19:20; -p tcp -m multiport --dports 22:23,26": `"tcp/1-2", "tcp/4-5", "tcp/7-8", "tcp/10-11", "tcp/13-14", "tcp/16-17", "tcp/19-20", "tcp/22-23", "tcp/26"`,
	} {
		b := &builder{g: program(t, "[door.d]\nopens = ["+opens+"]\nknocks = [\"udp/1001\", \"udp/1009\", \"udp/1005\"]\n")}
		if got := strings.Join(b.hidden(), "; "); got != want {
			t.Errorf("%s: %s", opens, got)
		}
	}
}
