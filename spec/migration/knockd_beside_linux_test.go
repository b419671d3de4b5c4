package migration

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"tirl/internal/firewall"
	"tirl/internal/knockd"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/shell"
)

// notHere are doors whose commands need what the server of the test has not.
var notHere = map[string]string{
	"nft/quoted":        "its accept in one table is nothing to the drop in another",
	"conditions/six":    "it works for IPv6 only, and most traces are IPv4's",
	"ufw/insert":        "it is for another interface",
	"pairs/openWeb":     "its rules are iptables', and ufw has closed the host",
	"matches/interface": "it is for another interface and address",
	"refused/long":      "where one sequence begins another, knockd opens the short one and forgets the long one",
	"who/drop":          "it opens by taking out a rule that drops; here the policy of the chain does",
}

// isPlain says whether all that a door runs are known commands of a firewall that
// runs here: of firewalld the daemon is missing.
func isPlain(d *knockd.Door) bool {
	for _, s := range []*knockd.Setting{d.StartFor(false), d.StartFor(true), d.StopFor(false), d.StopFor(true)} {
		if s == nil {
			continue
		}
		line, err := shell.Split(s.Text)
		if err != nil {
			return false
		}
		for _, part := range line.Commands {
			inner, err := shell.Unwrap(part)
			if err != nil {
				return false
			}
			for _, c := range inner {
				if _, err := firewall.Read(c, knockd.Address); err != nil || c.Name() == "firewall-cmd" {
					return false
				}
			}
		}
	}
	return true
}

// pairs finds the doors of a policy and the sections that they came from.
func pairs(name string, c *knockd.Config, p *policy.Policy) (doors []*knockd.Door, of []*policy.Door) {
	if p == nil {
		return nil, nil
	}
	for i := range p.Doors {
		n := slices.IndexFunc(c.Doors, func(d *knockd.Door) bool { return slices.Equal(d.Ports(), p.Doors[i].Knocks) })
		if d := c.Doors[n]; isPlain(d) && notHere[name+"/"+d.Name] == "" {
			doors, of = append(doors, d), append(of, &p.Doors[i])
		}
	}
	return doors, of
}

// quick is a configuration with times that a test can wait for.
const quick = `[quick]
sequence      = 7003:udp,7001,7002
seq_timeout   = 2
tcpflags      = syn
start_command = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
cmd_timeout   = 1
stop_command  = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT
[other]
sequence      = 8001:udp,8005,8003
seq_timeout   = 2
tcpflags      = syn
start_command = iptables -I INPUT -s %IP% -p tcp --dport 23 -j ACCEPT
cmd_timeout   = 1
stop_command  = iptables -D INPUT -s %IP% -p tcp --dport 23 -j ACCEPT
`

// thorough are configurations at which all traces are played, beside those from the
// wild.
var thorough = []string{"default", "quick", "both-families", "nft-plain", "flags"}

// TestKnockdBeside runs knockd, with the real commands, and tirl with the policy
// that tirl import has made, and sends both the same. Wherever they differ it is
// for the reason that the trace names.
func TestKnockdBeside(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen, known, tried := map[string]int{}, 0, 0
	t.Run("all", func(t *testing.T) {
		all := configurations(t)
		all["quick"] = quick
		for name, text := range all {
			c, found := knockd.Parse(name, []byte(text))
			if c == nil {
				t.Fatal(found)
			}
			if doors, _ := pairs(name, c, imported(name, c).Policy); len(doors) == 0 {
				t.Logf("%s has no door that can be tried here", name)
				continue
			}
			known++
			t.Run(name, func(t *testing.T) {
				tried++
				t.Parallel()
				b := newBoth(t, name, text)
				doors, of := pairs(name, b.config, b.policy)
				for i, d := range doors {
					for n, x := range traces {
						// All at the first door of some, elsewhere enough to see that it is theirs.
						isFew := n == 0 || x.why == whyOther || i == 0 && (x.why == whyScan || x.why == whyFamily)
						if !isFew && (i > 0 || !strings.HasPrefix(name, "wild-") && !slices.Contains(thorough, name)) {
							continue
						}
						if b.try(x, d, of[i]) {
							mu.Lock()
							seen[x.why]++
							mu.Unlock()
						}
					}
				}
			})
		}
	})
	t.Logf("%d configurations", tried)
	if tried < known {
		return // by -run
	}
	for _, x := range traces {
		if x.why != "" && seen[x.why] == 0 {
			t.Errorf("nothing differs because %s", x.why)
		}
	}
	for why, n := range seen {
		t.Logf("%d times: %s", n, why)
	}
}

// try plays one trace at one door, and says whether the two differ.
func (b *both) try(x trace, d *knockd.Door, of *policy.Door) bool {
	b.Helper()
	if x.when != nil && !x.when(d) || isForAll(d) && x.name != "in order" {
		return false
	}
	c := client{src: b.source(x.ipv6), other: b.source(x.ipv6)}
	for _, other := range b.config.Doors {
		if first := other.Ports()[0]; len(other.Sequence) > 2 && first != d.Ports()[0] && !slices.Contains(d.Ports(), first) && !slices.Contains(other.Ports(), d.Ports()[0]) {
			c.elsewhere = first
		}
	}
	steps := x.steps(c, d.Ports()...)
	if steps == nil {
		return false
	}
	service := port.Port{Proto: of.Opens[0].Proto, Number: of.Opens[0].First}
	gotKnockd, gotTirl := b.run(steps, c.src, d.Name, service)
	wantKnockd, wantTirl := x.knockd(d) && runsFor(d, x.ipv6), x.tirl(d) && admits(of, x.ipv6)
	if gotKnockd != wantKnockd || gotTirl != wantTirl {
		b.Errorf("%s, at [%s]: knockd %v, tirl %v, and it should be %v and %v", x.name, d.Name, gotKnockd, gotTirl, wantKnockd, wantTirl)
	}
	if gotKnockd != gotTirl && x.why == "" {
		b.Errorf("%s, at [%s]: knockd %v, tirl %v, for no reason", x.name, d.Name, gotKnockd, gotTirl)
	}
	return gotKnockd != gotTirl
}

// isForAll says whether a command opens to more than the client.
func isForAll(d *knockd.Door) bool {
	s := d.StartFor(d.StartFor(false) == nil)
	return !strings.Contains(s.Text, knockd.Address+" ") && !strings.Contains(s.Text, knockd.Address+`"`) && !strings.HasSuffix(s.Text, knockd.Address)
}
