package xtables

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
)

// The kernel's recent match does what this package makes of it: the rules get
// packets to UDP ports of the host, and then each has held for so many of them,
// and the list K is empty or not.
func TestRecent(t *testing.T) {
	const to = "-d 127.0.0.9 "
	for _, tt := range []struct {
		name  string
		rules []string
		ports []int
		held  string
		full  bool // the list in the end
	}{
		{"a mark always holds", []string{"-m recent --set --name K"}, []int{5, 5}, "2", true},
		{"a mark with ! never holds, and marks", []string{"-m recent ! --set --name K", "-m recent --rcheck --name K"},
			[]int{5, 5}, "0 2", true},
		{"what is removed was there", []string{"-m recent --remove --name K", "-m recent ! --remove --name K", "-m recent --set --name K"},
			[]int{5, 5, 5}, "2 3 3", true},
		{"a mark stands if what follows fails", []string{"-m recent --set --name K -p udp --dport 6"}, []int{5}, "0",
			true},
		{"a port in front is looked at before", []string{"-p udp --dport 6 -m recent --set --name K"}, []int{5}, "0",
			false},
		{"a protocol is looked at before, wherever it stands", []string{"-m recent --set --name K -p tcp"}, []int{5}, "0",
			false},
		{"an update makes no entry", []string{"-m recent --update --name K", "-m recent ! --update --name K"}, []int{5, 5}, "0 2",
			false},
		{"hits are counted, those of an update too", []string{"-m recent --update --hitcount 3 --name K", "-m recent --set --name K"},
			[]int{5, 5, 5, 5}, "1 4", true},
		{"an entry is found by the TTL of its last mark", []string{"-m recent --set --name K", "-m recent --rcheck --rttl --name K"},
			[]int{5}, "1 1", true},
	} {
		for _, variant := range []string{"legacy", "nft"} {
			t.Run(variant+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				k := newKernel(t, variant)
				k.run("", "ip", "link", "set", "lo", "up")
				text := "*filter\n"
				for _, r := range tt.rules {
					text += "-A INPUT " + to + r + "\n"
				}
				k.load("iptables", text+"COMMIT\n")
				for _, port := range tt.ports {
					k.knock(fmt.Sprintf("127.0.0.9:%d", port))
				}
				saved := k.run("", "iptables-"+variant+"-save", "-c")
				var held []string
				for _, m := range regexp.MustCompile(`(?m)^\[(\d+):\d+\] -A INPUT`).FindAllStringSubmatch(saved, -1) {
					held = append(held, m[1])
				}
				if got := strings.Join(held, " "); got != tt.held {
					t.Errorf("held %s, want %s\n%s", got, tt.held, saved)
				}
				if got := k.run("", "cat", "/proc/net/xt_recent/K") != ""; got != tt.full {
					t.Errorf("the list has entries: %v", got)
				}
			})
		}
	}
}

// knock sends one datagram.
func (k *kernel) knock(to string) {
	k.Helper()
	err := k.space.Do(func() error {
		c, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	})
	if err != nil && !strings.Contains(err.Error(), "refused") {
		k.Fatal(err)
	}
}
