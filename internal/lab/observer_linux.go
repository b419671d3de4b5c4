package lab

import (
	"context"
	"encoding/json"
	"fmt"

	"tirl/internal/tool"
)

// Observer tells which packets came to a server and which of them its firewall
// let through. It looks at the tags of [Packet], before all other rules and behind
// all of them; a datagram with less than four bytes it knows by its ports, the
// source's first. It drops nothing and does not need connection tracking. It may miss
// some of tens of thousands of packets that come in one burst: a set grows in the
// background.
type Observer struct {
	runner tool.Runner
}

// The table stands aside from whatever is under test. -500 comes before raw (-300) and
// defragmentation (-400), 500 after filter (0) and everything that has a name in nft(8).
const observerRules = `table inet lab_observer {
	set arrived { typeof @th,64,32; flags dynamic; size 1048576; }
	set passed { typeof @th,64,32; flags dynamic; size 1048576; }
	chain arrive {
		type filter hook prerouting priority -500; policy accept;
		iif != "lo" meta l4proto udp add @arrived { @th,64,32 }
		iif != "lo" meta l4proto udp udp length < 12 add @arrived { @th,0,32 }
		iif != "lo" meta l4proto tcp add @arrived { @th,32,32 }
		iif != "lo" meta l4proto { icmp, icmpv6 } add @arrived { @th,32,32 }
		iif != "lo" meta l4proto != { tcp, udp, icmp, icmpv6 } add @arrived { @th,0,32 }
	}
	chain pass {
		type filter hook input priority 500; policy accept;
		iif != "lo" meta l4proto udp add @passed { @th,64,32 }
		iif != "lo" meta l4proto udp udp length < 12 add @passed { @th,0,32 }
		iif != "lo" meta l4proto tcp add @passed { @th,32,32 }
		iif != "lo" meta l4proto { icmp, icmpv6 } add @passed { @th,32,32 }
		iif != "lo" meta l4proto != { tcp, udp, icmp, icmpv6 } add @passed { @th,0,32 }
	}
}
`

// NewObserver starts to observe, by a table of its own in the server's ruleset.
func NewObserver(ctx context.Context, p *Pair) (*Observer, error) {
	o := &Observer{p.Server}
	if _, err := o.runner.Run(ctx, observerRules, "nft", "-f", "-"); err != nil {
		return nil, fmt.Errorf("observe the server: %w", err)
	}
	return o, nil
}

// Close removes the table.
func (o *Observer) Close(ctx context.Context) error {
	_, err := o.runner.Run(ctx, "", "nft", "delete", "table", "inet", "lab_observer")
	return err
}

// Arrived gives the tags of the packets that came in by a cable.
func (o *Observer) Arrived(ctx context.Context) (map[uint32]bool, error) {
	return o.list(ctx, "arrived")
}

// Passed gives the tags of the packets that were let through to the server's
// sockets. What is dropped in prerouting, or is not for this host, is not among them.
func (o *Observer) Passed(ctx context.Context) (map[uint32]bool, error) {
	return o.list(ctx, "passed")
}

// Forget empties both sets, so that tags can be used again.
func (o *Observer) Forget(ctx context.Context) error {
	_, err := o.runner.Run(ctx, "flush set inet lab_observer arrived; flush set inet lab_observer passed\n", "nft", "-f", "-")
	return err
}

func (o *Observer) list(ctx context.Context, set string) (map[uint32]bool, error) {
	out, err := o.runner.Run(ctx, "", "nft", "-j", "list", "set", "inet", "lab_observer", set)
	if err != nil {
		return nil, err
	}
	tags, err := parseSet(out)
	if err != nil {
		return nil, fmt.Errorf("read the set %s: %w", set, err)
	}
	return tags, nil
}

// parseSet reads the elements of the one set of a libnftables-json(5) listing.
func parseSet(listing string) (map[uint32]bool, error) {
	var doc struct {
		Nftables []struct {
			Set *struct {
				Elem []uint32 `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(listing), &doc); err != nil {
		return nil, err
	}
	tags := make(map[uint32]bool)
	for _, item := range doc.Nftables {
		if item.Set != nil {
			for _, tag := range item.Set.Elem {
				tags[tag] = true
			}
		}
	}
	return tags, nil
}
