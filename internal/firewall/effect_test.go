package firewall

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tirl/internal/shell"
)

func read(t *testing.T, line string) (*Effect, error) {
	t.Helper()
	l, err := shell.Split(line)
	if err != nil || len(l.Commands) != 1 {
		t.Fatalf("%s: %v, %d commands", line, err, len(l.Commands))
	}
	return Read(l.Commands[0], "%IP%")
}

func brief(e *Effect) string {
	var words []string
	add := func(is bool, word string) {
		if is {
			words = append(words, word)
		}
	}
	words = append(words, []string{"nothing", "opens", "closes", "waits"}[e.Verb])
	for _, s := range e.Services {
		words = append(words, s.String())
	}
	add(e.Verb == Opens || e.Verb == Closes, []string{"everybody", "client", "network"}[e.Who])
	add(e.IPv4 && !e.IPv6, "v4")
	add(e.IPv6 && !e.IPv4, "v6")
	add(e.Time != 0, e.Time.String())
	add(e.Appended, "appended")
	add(e.Adds, "adds")
	add(e.Checks, "checks")
	add(e.Place != 0, fmt.Sprintf("as:%d", e.Place))
	add(e.Chain != "", "chain:"+e.Chain)
	add(e.Narrow != "", "only:"+e.Narrow)
	return strings.Join(words, " ")
}

func TestRead(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", "opens tcp/22 client v4 adds"},
		{"/sbin/iptables -A INPUT -p tcp -s %IP%/32 --dport ssh -j ACCEPT", "opens tcp/22 client v4 appended adds"},
		{"iptables -w 5 -I INPUT 1 --source=%IP% --protocol=udp --destination-port=51820 --jump=ACCEPT", "opens udp/51820 client v4 adds as:1"},
		{"iptables -D INPUT -s %IP% -ptcp --dport 22 -jACCEPT", "closes tcp/22 client v4"},
		{"ip6tables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", "opens tcp/22 client v6 adds"},
		{"iptables -C INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", "nothing v4 checks"},
		{"iptables -I INPUT -s %IP% -p tcp -m multiport --dports 443,80,8000:8010 -j ACCEPT", "opens tcp/80 tcp/443 tcp/8000-8010 client v4 adds"},
		{"iptables -I INPUT -s %IP% -p tcp -m tcp --syn --dport 22 -m comment --comment '-x y' -m state --state NEW,ESTABLISHED -j ACCEPT", "opens tcp/22 client v4 adds"},
		{"iptables -I INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT", "nothing v4"},
		{"iptables -I INPUT -p tcp --dport 22 -j ACCEPT", "opens tcp/22 everybody v4 adds"},
		{"iptables -I INPUT -s %IP%/24 -p tcp --dport 22 -j ACCEPT", "opens tcp/22 network v4 adds"},
		{"iptables -I INPUT -s %IP% -j ACCEPT", "opens client v4 adds"},
		{"iptables -I INPUT -s %IP% -p tcp -j ACCEPT", "opens tcp/1-65535 client v4 adds"},
		{"iptables -I INPUT -s %IP% -p tcp --dport 22 -j REJECT --reject-with tcp-reset", "closes tcp/22 client v4 adds"},
		{"iptables -D INPUT -p tcp --dport 22 -j DROP", "opens tcp/22 everybody v4"},
		{"iptables -A KNOCK -i eth0 -d 192.0.2.1 -s %IP% -p tcp --dport 22 -j ACCEPT", "opens tcp/22 client v4 appended adds chain:KNOCK only:-i eth0 -d 192.0.2.1"},
		{"iptables -I OUTPUT -d %IP% -p tcp --sport 22 -j ACCEPT", "nothing v4"},
		{"iptables -I INPUT -s %IP% -j LOG --log-prefix 'knock: '", "nothing v4"},
		{"iptables -nvL INPUT", "nothing v4"},

		{"ufw allow from %IP% to any port 22", "opens tcp/22 udp/22 client"},
		{"ufw allow from %IP% to any port 22 proto tcp", "opens tcp/22 client"},
		{"ufw insert 1 allow in on eth0 proto tcp from %IP% to 192.0.2.1 port 80,443 comment 'a b'", "opens tcp/80 tcp/443 client only:on eth0 to 192.0.2.1"},
		{"ufw --force delete allow proto tcp from %IP% to any port 22", "closes tcp/22 client"},
		{"ufw allow 6000:6007/udp", "opens udp/6000-6007 everybody"},
		{"ufw limit ssh/tcp", "opens tcp/22 everybody"},
		{"ufw deny 22/tcp", "closes tcp/22 everybody"},
		{"ufw delete deny 22/tcp", "opens tcp/22 everybody"},
		{"ufw allow from %IP% to any app OpenSSH", "opens tcp/22 client"},
		{"ufw allow from %IP%", "opens client"},
		{"ufw allow out 53", "nothing"},
		{"ufw reload", "nothing"},

		{`firewall-cmd --add-rich-rule='rule family="ipv4" source address="%IP%" port port="22" protocol="tcp" accept'`, "opens tcp/22 client v4"},
		{`firewall-cmd --zone public --remove-rich-rule "rule family=ipv6 source address=%IP% service name=ssh accept"`, "closes tcp/22 client v6"},
		{`firewall-cmd --add-rich-rule='rule source address=%IP% port port=22 protocol=tcp drop'`, "closes tcp/22 client"},
		{"firewall-cmd --add-port=8000-8010/udp --timeout=5m", "opens udp/8000-8010 everybody 5m0s"},
		{"firewall-cmd --add-service https --timeout 90", "opens tcp/443 everybody 1m30s"},
		{"firewall-cmd --zone=trusted --add-source=%IP%", "opens client"},
		{"firewall-cmd --reload", "nothing"},

		{"nft add rule inet filter input ip saddr %IP% tcp dport 22 accept", "opens tcp/22 client v4 appended adds"},
		{"nft insert rule ip6 filter INPUT position 3 ip6 saddr %IP% tcp dport {22, 443} counter accept", "opens tcp/22 tcp/443 client v6 adds"},
		{"nft 'insert rule inet f input ct state {new,established} ip saddr %IP% udp dport 51820 accept'", "opens udp/51820 client v4 adds"},
		{`nft insert rule inet f knock iifname eth0 ip saddr %IP% meta l4proto tcp th dport 22 accept comment "by knock"`, "opens tcp/22 client v4 adds chain:knock only:iifname eth0"},
		{"nft add rule inet f input ip saddr %IP% drop", "closes client v4 appended adds"},
		{"nft -a list ruleset", "nothing"},

		{"/usr/sbin/knock_helper_ipt.sh -i -f %IP% -d 22", "opens tcp/22 client v4 adds"},
		{"knock_add -i -c INPUT -p tcp -d 443 -f %IP%", "opens tcp/443 client v4 adds"},
		{"knock_helper_ipt.sh --append --srcaddr=%IP% --dstport 53 -pudp -m 'x'", ""},
		{"knock_helper_ipt.sh -a --srcaddr %IP% --dstport=53 -pudp --chain=X -v", "opens udp/53 client v4 appended adds chain:X"},
		{"knock_helper_ipt.sh -x -f %IP% -d 22", "closes tcp/22 client v4"},
		{"knock_helper_ipt.sh -t -i -f %IP% -d 22", "nothing"},

		{"sleep 90", "waits 1m30s"},
		{"sleep 1.5m", "waits 1m30s"},
		{"true", "nothing"},
	} {
		e, err := read(t, c.line)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: %s", c.line, brief(e))
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
		} else if got := brief(e); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.line, got, c.want)
		}
	}
}

func TestUnread(t *testing.T) {
	for line, want := range map[string]string{
		"logger opened": "no command of a firewall",
		"iptables -t nat -I PREROUTING -s %IP% -p tcp --dport 2222 -j DNAT --to-destination 10.0.0.5:22": "10.0.0.5:22 (DNAT)",
		"/home/me/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT":                                 "no command of a firewall",
		"iptables -t mangle -I INPUT -j ACCEPT":                                                          "the table mangle",
		"iptables -I FORWARD -s %IP% -j ACCEPT":                                                          "to other hosts",
		"iptables -D INPUT 3":                                                                            "rule 3",
		"iptables -F":                                                                                    "neither adds nor removes",
		"iptables -P INPUT ACCEPT":                                                                       "neither adds nor removes",
		"iptables -I INPUT ! -s %IP% -p tcp --dport 22 -j ACCEPT":                                        "a ! in it",
		"iptables -I INPUT -s ! %IP% -p tcp --dport 22 -j ACCEPT":                                        "a ! in it",
		"iptables -I INPUT -s 192.0.2.1 -p tcp --dport 22 -j ACCEPT":                                     "about 192.0.2.1",
		"iptables -I INPUT -s %IP% -p tcp --dport 22 -j OTHER":                                           "target OTHER",
		"iptables -I INPUT -s %IP% -p tcp --dport 22":                                                    "no target",
		"iptables -I INPUT -s %IP% -p tcp --dport 22 -m recent --set -j ACCEPT":                          "the match recent",
		"iptables -I INPUT -s %IP% -p tcp --dport 22 --limit 3/min -j ACCEPT":                            "--limit",
		"iptables -I INPUT -s %IP% -p tcp --sport 22 -j ACCEPT":                                          "--source-port",
		"iptables -I INPUT -s %IP% --dport 22 -j ACCEPT":                                                 "no protocol",
		"iptables -I INPUT -s %IP% -p icmp -j ACCEPT":                                                    "the protocol icmp",
		"iptables -I INPUT -s %IP% -p tcp --dport nonsense -j ACCEPT":                                    "is no port",
		"iptables -I INPUT -s %IP% -p tcp --dport 0 -j ACCEPT":                                           "is no port",
		"iptables -I INPUT -s %IP% -p tcp --dport 30:20 -j ACCEPT":                                       "end before they begin",
		"iptables -I INPUT -s %IP% -p tcp --dport $PORT -j ACCEPT":                                       "what a shell makes of it",
		"iptables -I INPUT -s %IP% -p tcp --dport":                                                       "has no value",
		"iptables -I INPUT -A INPUT -j ACCEPT":                                                           "two commands",
		"iptables -I INPUT stray -j ACCEPT":                                                              "no number of a rule",
		"ufw delete 3":                                                                                   "rule 3 of ufw",
		"ufw route allow from %IP%":                                                                      "ufw route",
		"ufw allow from 192.0.2.1 to any port 22":                                                        "about 192.0.2.1",
		"ufw allow from %IP% port 1000 to any port 22":                                                   "the client's port",
		"ufw allow nonsense":                                                                             "is no port",
		"ufw enable":                                                                                     "no rule of ufw",
		"firewall-cmd --permanent --add-port=22/tcp":                                                     "--permanent",
		"firewall-cmd --add-port=22/tcp --add-port=23/tcp":                                               "several things",
		"firewall-cmd --add-service=samba":                                                               "the service samba",
		"firewall-cmd --add-masquerade":                                                                  "not known",
		"firewall-cmd --add-rich-rule='rule masquerade'":                                                 "which is not known",
		"firewall-cmd --add-rich-rule='rule source address=%IP%'":                                        "does nothing",
		"nft add element inet f knocked '{ %IP% }'":                                                      "a set",
		"nft delete rule inet f input handle 7":                                                          "by its handle",
		"nft add rule inet f forward ip saddr %IP% accept":                                               "its chain is forward",
		"nft add rule inet f input ip saddr %IP% tcp dport 22 limit rate 3/second accept":                "has limit",
		"nft add rule inet f input ip saddr %IP% tcp dport 22":                                           "neither accepts nor drops",
		"nft 'add rule a; add rule b'":                                                                   "several commands",
		"nft flush ruleset":                                                                              "neither adds nor removes",
		"knock_helper_ipt.sh -i -d 22":                                                                   "does nothing without",
		"knock_helper_ipt.sh --nonsense":                                                                 "no flag",
		"sleep forever":                                                                                  "cannot be read",
	} {
		e, err := read(t, line)
		u, ok := errors.AsType[*Unread](err)
		if !ok || !strings.Contains(u.Text, want) {
			t.Errorf("%s: %+v, %v, want %s", line, e, err, want)
		}
	}
	l, err := shell.Split("a | iptables -I INPUT -s %IP% -j ACCEPT")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(l.Commands[1], "%IP%"); err == nil {
		t.Error("a part of a pipeline is read")
	}
}

func TestParseRule(t *testing.T) {
	r, err := ParseRule(strings.Fields("-A INPUT ! -i lo -p tcp -m tcp --tcp-flags SYN,ACK SYN -m recent --rcheck --seconds 10 --name KNOCK1 --mask 255.255.255.255 --rsource -m unknown --odd a b -c 3 4 -j STATE2"))
	if err != nil {
		t.Fatal(err)
	}
	want := "filter append INPUT [{true in-interface [lo]} {false protocol [tcp]} {false match [tcp]} {false tcp-flags [SYN,ACK SYN]} " +
		"{false match [recent]} {false rcheck []} {false seconds [10]} {false name [KNOCK1]} {false mask [255.255.255.255]} {false rsource []} " +
		"{false match [unknown]} {false odd [a b]} {false set-counters [3 4]} {false jump [STATE2]}]"
	if got := fmt.Sprintf("%s %s %s %v", r.Table, r.Command, r.Chain, r.Options); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if o, ok := r.Option("name"); !ok || o.Value() != "KNOCK1" {
		t.Errorf("name: %v %v", o, ok)
	}
	r, err = ParseRule(strings.Fields("-t raw -P PREROUTING DROP -w"))
	if err != nil || r.Table != "raw" || r.Command != "policy" || r.Chain != "PREROUTING" || fmt.Sprint(r.Args) != "[DROP]" {
		t.Errorf("%+v %v", r, err)
	}
}

// FuzzRead: nothing is read that the client's address is not in, unless it is for
// everybody.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT", "ufw allow from %IP% to any port 22", "nft add rule inet f input ip saddr %IP% tcp dport 22 accept",
		`firewall-cmd --add-rich-rule='rule family="ipv4" source address="%IP%" port port="22" protocol="tcp" accept'`, "knock_helper_ipt.sh -i -f %IP% -d 22", "sleep 3",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		l, err := shell.Split(line)
		if err != nil {
			return
		}
		for _, c := range l.Commands {
			e, err := Read(c, "%IP%")
			if err != nil {
				if u, ok := errors.AsType[*Unread](err); !ok || u.Text == "" {
					t.Fatalf("%#v", err)
				}
				continue
			}
			if e.Who != Everybody && !strings.Contains(strings.Join(c.Args(), " "), "%IP%") {
				t.Fatalf("%s: %s", line, brief(e))
			}
			for _, s := range e.Services {
				if s.First == 0 || s.Last < s.First {
					t.Fatalf("%s: %v", line, s)
				}
			}
		}
	})
}
