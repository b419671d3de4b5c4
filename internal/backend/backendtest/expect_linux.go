package backendtest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/lab"
	"tirl/internal/port"
)

// announcing is the first of the ports that the server sends to when it expects a
// flow. No packet has them as its source port.
const announcing = 61000

// expect prepares the server to expect flows to the ports of related packets. A
// rule for the first packet of a flow can expect another one in the direction of
// its answers (nft_ct_expect_obj_eval in net/netfilter/nft_ct.c).
func (k *Kernel) expect(ctx context.Context, packets []automaton.Packet) error {
	for _, p := range packets {
		to := p.To
		_, known := k.expects[to]
		if p.Conn != automaton.Related || known || to.Proto != port.TCP && to.Proto != port.UDP {
			continue
		}
		k.expects[to] = announcing + uint16(len(k.expects))
	}
	if len(k.expects) == 0 {
		return nil
	}
	var text strings.Builder
	for _, family := range []string{"ip", "ip6"} {
		var rules strings.Builder
		fmt.Fprintf(&text, "table %s lab_expect {\n", family)
		for to, by := range k.expects {
			fmt.Fprintf(&text, "\tct expectation e%d { protocol %s; dport %d; timeout 1m; size 1000; l3proto %s; }\n", by, to.Proto, to.Number, family)
			fmt.Fprintf(&rules, "\t\tudp dport %d ct expectation set \"e%d\"\n", by, by)
		}
		fmt.Fprintf(&text, "\tchain output {\n\t\ttype filter hook output priority filter; policy accept;\n%s\t}\n}\n", rules.String())
	}
	if _, err := k.Pair.Server.Run(ctx, text.String(), "nft", "-f", "-"); err != nil {
		return fmt.Errorf("expect flows: %w", err)
	}
	return nil
}

// announce has the server expect one flow from a source.
func (k *Kernel) announce(src netip.Addr, to port.Port) error {
	by, ok := k.expects[to]
	if !ok {
		return fmt.Errorf("%w: nobody expects %s", ErrNotHere, to)
	}
	return k.Pair.Server.Do(func() error {
		local := lab.Server4()
		if src.Is6() {
			local = lab.Server6()
		}
		conn, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, by)))
		if err != nil {
			return fmt.Errorf("announce a flow: %w", err)
		}
		defer conn.Close()
		_, err = conn.Write([]byte("expect"))
		return err
	})
}
