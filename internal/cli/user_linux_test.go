package cli

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"tirl/internal/lab"
	"tirl/internal/onetime"
	"tirl/internal/policy"
	"tirl/internal/port"
)

// spend sends, from the client, the value of a number that a user's entry stands for.
func spend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: spend ENTRY NUMBER")
	}
	hosts, found := policy.ParseHosts(args[0], []byte(ts.ReadFile(args[0])))
	if found.HasErrors() {
		ts.Fatalf("%v", found)
	}
	number, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	to, c := hosts[0].Addresses[0], hosts[0].Doors[0].Credential
	p := onetime.ParamsOf(c.User)
	pair := ts.Value(pairKey{}).(*lab.Pair)
	ts.Check(pair.Client.Do(func() error {
		if c.Kind == policy.Token {
			token, number := onetime.Secret(c.Secret).Token(number, p)
			return send(to, number, token[:])
		}
		for _, k := range onetime.Secret(c.Secret).Sequence(number, p) {
			if err := send(to, k.Number, nil); err != nil {
				return err
			}
			time.Sleep(5 * time.Millisecond)
		}
		return nil
	}))
}

func send(to netip.Addr, number uint16, payload []byte) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, number)))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write(payload)
	return err
}

// listen keeps a TCP service on the server until the script ends.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: listen PORT")
	}
	p, err := port.Parse("tcp/" + args[0])
	ts.Check(err)
	pair := ts.Value(pairKey{}).(*lab.Pair)
	ts.Check(pair.Server.Do(func() error {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: int(p.Number)})
		if err == nil {
			ts.Defer(func() { l.Close() })
		}
		return err
	}))
}
