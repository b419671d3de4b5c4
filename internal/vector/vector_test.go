package vector

import (
	"strings"
	"testing"
	"time"
)

const doors = `[knocking]
step_timeout = "2s"

[door.ssh]
opens  = ["tcp/22"]
knocks = ["udp/1111", "udp/3333", "udp/2222"]

[door.web]
opens    = ["tcp/8443"]
knocks   = ["udp/4444", "udp/5555"]
open_for = "once"

[door.twin]
opens  = ["tcp/22"]
knocks = ["udp/6666", "udp/1111"]
`

func file(comment, trace string) []byte {
	return []byte(comment + "-- policy.toml --\n" + doors + "-- trace --\n" + trace)
}

func TestParse(t *testing.T) {
	v, err := Parse("dir/name.txtar", file("backends: nftables\nkernel: no\n\nIt shows: this.\n", `
# a comment
udp/6666 from 10.9.0.20 => accept, twin 1
udp/1111-1112 => accept, start, open ssh   # => not this
udp/4444 => accept, web 1, open twin
+1s udp/5555 => reset, web 2, open ssh
`))
	if err != nil {
		t.Fatal(err)
	}
	if v.Name != "name" || v.Comment != "It shows: this." || v.Kernel || v.On("iptables") || !v.On("nftables") {
		t.Errorf("%+v", v)
	}
	var got strings.Builder
	for _, s := range v.Steps {
		got.WriteString(strings.Join([]string{s.Text, s.Verdict.String(), v.Describe(s.Place, s.Open), s.Packets[0].Time.String()}, "; ") + "\n")
	}
	const want = `udp/6666 from 10.9.0.20; accept; twin 1; 0s
udp/1111-1112 from 10.9.0.20; accept; start, open ssh; 100ms
udp/4444 from 10.9.0.20; accept; web 1, open ssh; 201ms
udp/5555 from 10.9.0.20; reset; web 2, open ssh; 1.201s
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if n := strings.Count(string(file("backends: nftables\nkernel: no\n\nIt shows: this.\n", "")), "\n") + 3; v.Steps[0].Line != n {
		t.Errorf("the first packet is on line %d, want %d", v.Steps[0].Line, n)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ comment, trace, want string }{
		{"", "udp/1 => accept, start", "expected a comment"},
		{"backends: nftables\n\n", "udp/1 => accept, start", "expected a comment"},
		{"backends: bpf\n\nx\n", "udp/1 => accept, start", `there is no backend "bpf"`},
		{"x\n", "", "no packet"},
		{"x\n", "udp/1", "f:19: expected =>"},
		{"x\n", "wait 1s => accept, start", "f:19: there is no packet"},
		{"x\n", "\nudp/0 => accept, start", "f:20:1: expected udp/PORT"},
		{"x\n", "udp/1 => accept", "a verdict and a place"},
		{"x\n", "udp/1 => allow, start", "expected accept, drop or reset"},
		{"x\n", "udp/1 => accept, ssh", "how many of its 3 knocks"},
		{"x\n", "udp/1 => accept, ssh 4", "how many of its 3 knocks"},
		{"x\n", "udp/1 => accept, ssh 3", "nobody stands at the end of ssh"},
		{"x\n", "udp/1 => accept, ssl 1", `there is no door "ssl"`},
		{"x\n", "udp/1 => accept, start, ssh", "expected open DOOR"},
		{"x\n", "udp/1 => accept, start, open web", "opens once"},
		{"x\n", "udp/1 => accept, start, open ssh, twin", "name one of them"},
	} {
		_, err := Parse("f", file(test.comment, test.trace+"\n"))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q %q: got %v, want %q", test.comment, test.trace, err, test.want)
		}
	}
	for _, text := range []string{"x\n", "x\n-- trace --\nudp/1 => accept, start\n", "x\n-- policy.toml --\nversion = 2\n-- trace --\n"} {
		if _, err := Parse("f", []byte(text)); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory without vectors is accepted")
	}
}

const sound = `udp/1111 from 10.9.0.20 => accept, ssh 1
udp/3333 => accept, ssh 2
+1s udp/2222 => accept, start, open ssh
tcp/22 => accept, start, open ssh
tcp/8443 => drop, start, open ssh
`

func replay(t *testing.T, trace string) []string {
	t.Helper()
	v, err := Parse("f", file("x\n", trace))
	if err != nil {
		t.Fatal(err)
	}
	return v.Replay(func(at time.Duration) time.Duration { return at })
}

// TestReplayCanFail changes one expectation at a time: each change is noticed,
// and none but that.
func TestReplayCanFail(t *testing.T) {
	if problems := replay(t, sound); problems != nil {
		t.Fatal(problems)
	}
	for _, change := range [][2]string{
		{"accept, ssh 1", "drop, ssh 1"}, {"accept, ssh 1", "accept, start"}, {"ssh 2", "ssh 1"},
		{"start, open ssh\ntcp/22", "start\ntcp/22"}, {"ssh 2", "ssh 2, open ssh"}, {"drop", "reset"}, {"+1s", "+2s"},
	} {
		problems := replay(t, strings.Replace(sound, change[0], change[1], 1))
		if len(problems) == 0 || change[0] != "+1s" && len(problems) != 1 {
			t.Errorf("%q for %q: %q", change[1], change[0], problems)
		}
	}
}

func TestSlack(t *testing.T) {
	for _, test := range []struct {
		gap         string
		least, most time.Duration
	}{
		{"+1s", 500 * time.Millisecond, time.Second},
		{"+1.8s", 100 * time.Millisecond, 200 * time.Millisecond},
	} {
		v, err := Parse("f", file("x\n", strings.Replace(sound, "+1s", test.gap, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Slack(); got < test.least || got > test.most {
			t.Errorf("with %s the slack is %s, want %s to %s", test.gap, got, test.least, test.most)
		}
	}
}

func TestDescribe(t *testing.T) {
	v, err := Parse("f", file("x\n", "udp/1 => accept, start\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Describe(v.Program.Doors[1].Knocks, []int{v.Program.Doors[2].Class}); got != "web 2, open ssh" {
		t.Errorf("got %q", got)
	}
	strange := v.Program.Doors[1].Knocks[1:]
	if got := v.Describe(strange, nil); got != "[udp/5555]" {
		t.Errorf("got %q", got)
	}
	if got := v.Describe(nil, nil); got != "start" {
		t.Errorf("got %q", got)
	}
}
