package knockd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tirl/internal/automaton"
)

func parse(t testing.TB, text string) *Config {
	t.Helper()
	c, found := Parse("knockd.conf", []byte(text))
	if c == nil {
		t.Fatalf("refused: %v", found)
	}
	return c
}

func TestParse(t *testing.T) {
	c := parse(t, "# comment\r\n\r\n[options]\r\n\tUseSyslog\r\n  logfile = /var/log/knockd.log \r\n\tInterface = \n interface=eth1\ninterface = eth2\n"+
		"[Open SSH]\nSEQUENCE = 7000, 8000:udp ,9000 : TCP:x\nseq_timeout = 15\nTCPFlags = Syn,!ACK\n"+
		"Command = a=b # c\nstart_command_6=\nCmd_Timeout= -3x\nstop_command = d\nUseSyslog\nTarget = 192.0.2.1\n"+
		"[two]\nTimeout = abc\nsequence = abc,-1,+22 x,\n")
	if !c.Syslog || c.LogFile.Text != "/var/log/knockd.log" || c.Interface.Text != "eth1" {
		t.Errorf("options: %+v", c)
	}
	if len(c.Doors) != 2 {
		t.Fatalf("%d doors", len(c.Doors))
	}
	d := c.Doors[0]
	if got := fmt.Sprint(d.Ports()); got != "[tcp/7000 udp/8000 tcp/9000]" {
		t.Error(got)
	}
	if d.Name != "Open SSH" || d.Line != 9 || d.End != 18 || d.SeqTimeout != 15*time.Second || d.CmdTimeout != -3*time.Second {
		t.Errorf("%+v", d)
	}
	if d.Flags != (Flags{automaton.SYN, automaton.ACK}) || d.Target.Text != "192.0.2.1" || d.Start.Text != "a=b # c" {
		t.Errorf("%+v", d)
	}
	if d.StartFor(true) != nil || d.StartFor(false) == nil || d.StopFor(true).Text != "d" {
		t.Error("the commands of the families")
	}
	if p := c.Source.Position(d.Sequence[1].At); p.Line != 10 || p.Column != 18 {
		t.Errorf("the second knock is at %v", p)
	}
	d = c.Doors[1]
	if got := fmt.Sprint(d.Ports()); got != "[tcp/0 tcp/65535 tcp/22 tcp/0]" || d.SeqTimeout != 0 || d.CmdTimeout != DefaultCmdTimeout {
		t.Errorf("%s %+v", got, d)
	}
}

func TestParseRefuses(t *testing.T) {
	door := "[a]\nsequence = 1\n"
	for text, want := range map[string]string{
		"sequence = 1":                  "1:1 a directive before the first section",
		"\ufeff[options]\n":             "1:1 a directive before the first section",
		"[]\n":                          "1:1 the section has no name",
		"[a] # x\n":                     "1:1 a directive before the first section",
		door + "[b] # x\n":              `3:1 "[b] # x" is neither a section nor a directive`,
		door + "; x\n":                  `3:1 "; x" is neither a section nor a directive`,
		door + "x\n":                    `3:1 "x" is neither a section nor a directive`,
		door + "[\n":                    `3:1 "[" is neither a section nor a directive`,
		door + "x = y\n":                `3:1 "X" is no directive of a door`,
		door + "logfile = y\n":          `3:1 "LOGFILE" is no directive of a door`,
		"[options]\nsequence = 1\n":     `2:1 "SEQUENCE" is no directive of [options]`,
		"[options]\nUseSyslog = yes\n":  "2:1 UseSyslog takes no value",
		"[a]\n":                         `1:1 door "a" has no sequence`,
		"[Options]\nUseSyslog\n":        `1:1 door "Options" has no sequence`,
		"[a]\nsequence = 1,70000\n":     `2:14 port "70000" is too large`,
		"[a]\nsequence = 1,2:icmp\n":    `2:14 the protocol "icmp" is neither tcp nor udp`,
		"[a]\nsequence = 1,2:udp # x\n": `2:14 the protocol "udp # x" is neither tcp nor udp`,
		"[a]\nsequence = 1,2:\n":        `2:14 the protocol "" is neither tcp nor udp`,
		"[a]\nsequence = 1" + strings.Repeat(",2", 32) + "\n": "2:76 a sequence has at most 32 ports",
		door + "tcpflags =\n":                                  `3:11 "" is no TCP flag`,
		door + "tcpflags = syn, ack\n":                         `3:16 " ack" is no TCP flag`,
		door + "tcpflags = syn|ack\n":                          `3:12 "syn|ack" is no TCP flag`,
		door + "command = a \\\n  b\n":                         `4:3 "b" is neither a section nor a directive`,
		door + "command = " + strings.Repeat("x", 5000) + "\n": `3:4096 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" is neither a section nor a directive`,
	} {
		c, found := Parse("knockd.conf", []byte(text))
		if c != nil || len(found) != 1 {
			t.Errorf("%q: %v", text, found)
			continue
		}
		if got := fmt.Sprintf("%d:%d %s", found[0].Pos.Line, found[0].Pos.Column, found[0].Text); got != want {
			t.Errorf("%q:\n got %s\nwant %s", text, got, want)
		}
	}
	// All at once, in the order of the file.
	_, found := Parse("knockd.conf", []byte("[a]\nx\ny = z\n[b]\nsequence = 70000,1:x\n"))
	var lines []int
	for _, f := range found {
		lines = append(lines, f.Pos.Line)
	}
	if fmt.Sprint(lines) != "[1 2 3 5 5]" {
		t.Errorf("lines %v", lines)
	}
}

func TestParseAccepts(t *testing.T) {
	for _, text := range []string{"", "# x", "[options]", "[options]\nUseSyslog\n", "[a]\nsequence =", "[a]\none_time_sequences = x",
		"[a]\x00x\nsequence = 1\x00:x\n", "[a=b]\nsequence=1", "[" + strings.Repeat("n", 500) + "]\nsequence = 1",
		"[a]\nsequence = 1\ncommand = " + strings.Repeat("x", 4085)} {
		if c, found := Parse("knockd.conf", []byte(text)); c == nil {
			t.Errorf("%.40q: %v", text, found)
		}
	}
	if name := parse(t, "["+strings.Repeat("n", 500)+"]\nsequence = 1").Doors[0].Name; len(name) != 127 {
		t.Errorf("a name has %d bytes", len(name))
	}
}

func TestUsed(t *testing.T) {
	c := parse(t, "[a]\nsequence = 1\nsequence = 2\ncommand = x\nstart_command = y\ntimeout = 1\nseq_timeout = 2\ntcpflags = syn\ntcpflags = ack\n[b]\nsequence = 3")
	var used []string
	for _, d := range c.Doors {
		for _, s := range d.Settings {
			if s.Used {
				used = append(used, fmt.Sprint(s.Line))
			}
		}
	}
	if got := strings.Join(used, " "); got != "3 5 7 8 9 11" {
		t.Errorf("lines %s", got)
	}
}

func TestAtoi(t *testing.T) {
	for text, want := range map[string]int32{
		"": 0, "x": 0, "7": 7, " \t7": 7, "+7": 7, "-7": -7, "- 7": 0, "7x": 7, "0x10": 0, "007": 7, "--7": 0,
		"2147483648": -2147483648, "4294967297": 1, "9223372036854775807": -1, "9223372036854775808": -1,
		"99999999999999999999999": -1, "-9223372036854775809": 0, "-99999999999999999999999": 0,
	} {
		if got := atoi(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("[options]\nUseSyslog\n[a]\nsequence = 1:udp,2,3:tcp\ntcpflags = syn,!ack\ncommand = x %IP%\n"))
	f.Add([]byte("[a]\r\nsequence=,\r\n[b]x\n=\n[]\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, found := Parse("knockd.conf", text)
		if (c == nil) != found.HasErrors() {
			t.Fatalf("a configuration: %v, and %v", c != nil, found)
		}
		if c == nil {
			return
		}
		for _, d := range c.Doors {
			if len(d.Sequence) == 0 && d.OneTime == nil || len(d.Sequence) > MaxSequence || d.End < d.Line {
				t.Fatalf("%+v", d)
			}
			for _, s := range d.Settings {
				if string(text[s.At:s.At+len(s.Text)]) != s.Text || c.Source.Position(s.At).Line != s.Line {
					t.Fatalf("%+v is not at its place", s)
				}
			}
			for _, k := range d.Sequence {
				if string(text[k.At:k.At+len(k.Text)]) != k.Text {
					t.Fatalf("%+v is not at its place", k)
				}
			}
		}
	})
}
