package doctor

import (
	"fmt"
	"regexp"
	"strings"
)

// loaded judges what tirl itself has in the kernel.
func (j *judge) loaded() {
	if j.Backend == "" {
		j.add(NotLoaded, Error, "sudo tirl apply", "no policy is loaded: the doors are open")
		return
	}
	if j.Drifted {
		j.add(Drifted, Error, "sudo tirl apply --dry-run", "somebody has changed the rules since they were loaded")
	}
	if j.Changed {
		j.add(PolicyChanged, Warning, "sudo tirl apply --dry-run", "the policy file is not what is loaded")
	}
	if j.Backend == "iptables" && j.Rules.has("firewalld") {
		j.add(FirewalldFlush, Warning, `set backend = "nftables" in the policy, and: sudo tirl apply`,
			"firewalld flushes all rules of iptables when it is reloaded (FlushAllOnReload), tirl's too, and the doors are open")
	}
	if own := j.Rules.own; j.Backend == "iptables" && own[0] != own[1] {
		have, lack := "IPv4", "IPv6"
		if own[1] {
			have, lack = lack, have
		}
		j.add(OneFamily, Error, "sudo tirl apply", "the rules for ", lack, " are gone: the doors are hidden on ", have, " only")
	}
}

// host judges what does not depend on a policy.
func (j *judge) host() {
	j.flush()
	if j.Backend != "" {
		j.conntrack()
	}
	if g := j.Program; g != nil && j.Backend == "iptables" && j.RecentTotal > 0 && j.RecentTotal < g.Sources {
		j.add(RecentLimit, Warning,
			fmt.Sprintf("echo 'options xt_recent ip_list_tot=%d' | sudo tee /etc/modprobe.d/tirl.conf && sudo tirl remove && sudo modprobe -r xt_recent && sudo tirl apply", g.Sources),
			fmt.Sprintf("the recent match remembers %d sources a list, not %d: who knocks from more addresses makes it forget others", j.RecentTotal, g.Sources))
	}
	if j.ClockKnown && !j.ClockSynced {
		j.add(ClockUnsynced, Note, "sudo timedatectl set-ntp true",
			"the clock is not synchronised; the doors use no clock, but times in the log will be wrong")
	}
}

func (j *judge) conntrack() {
	switch {
	case j.TrackedMax < 0:
		j.add(ConntrackOff, Warning, "sudo modprobe nf_conntrack", "connection tracking is not available: open UDP flows, and in firewall mode all connections, do not outlast a grant")
	case j.Tracked == 0 && j.Connections > 0:
		j.add(ConntrackOff, Warning, "sudo nft list ruleset | grep -n notrack; sudo iptables-save -t raw | grep -n -i notrack",
			fmt.Sprintf("connection tracking knows none of %d open connections", j.Connections))
	case j.TrackedMax > 0 && j.Tracked >= j.TrackedMax/10*9:
		j.add(ConntrackFull, Warning, fmt.Sprintf("sudo sysctl -w net.netfilter.nf_conntrack_max=%d", 2*j.TrackedMax),
			fmt.Sprintf("%d of %d tracked connections are in use: once it is full, the kernel drops the first packet of every connection", j.Tracked, j.TrackedMax))
	}
}

var tableLine = regexp.MustCompile(`(?m)^[ \t]*table[ \t]+(?:(ip|ip6|inet|arp|bridge|netdev)[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)`)

// flush finds the reload that takes tirl's table along, and the line that does
// the same for the file's own tables only: each is made, so that it can be
// deleted, and deleted; nft -f is one transaction.
func (j *judge) flush() {
	if j.FlushFile.Name == "" {
		return
	}
	var lines []string
	seen := map[string]bool{}
	for _, m := range tableLine.FindAllStringSubmatch(j.FlushFile.Text, -1) {
		family := m[1]
		if family == "" {
			family = "ip"
		}
		if t := family + " " + m[2]; !seen[t] {
			seen[t] = true
			lines = append(lines, "add table "+t, "delete table "+t)
		}
	}
	// sed(1): \n in the replacement is a new line in GNU sed.
	hint := fmt.Sprintf(`sudo sed -i 's/^[ \t]*flush[ \t]\+ruleset.*/%s/' %s`, strings.Join(lines, `\n`), j.FlushFile.Name)
	if len(lines) == 0 {
		hint = fmt.Sprintf(`sudo sed -i '/^[ \t]*flush[ \t]\+ruleset/d' %s`, j.FlushFile.Name)
	}
	severity, until := Warning, "and the doors are open"
	if j.Healed {
		severity, until = Note, "and the doors are open until tirl-heal.timer brings them back"
	}
	j.add(FlushOnReload, severity, hint, "nftables.service is enabled and ", j.FlushFile.Name,
		" begins with \"flush ruleset\": a reload of it removes tirl's rules too, ", until)
}
