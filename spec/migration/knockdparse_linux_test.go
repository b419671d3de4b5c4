package migration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tirl/internal/automaton"
	"tirl/internal/knockd"
	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/tool"
)

// configurations are those of the importer's tests.
func configurations(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../internal/importer/testdata/knockd/*.conf")
	if err != nil || len(files) < 26 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".conf")] = string(text)
	}
	return all
}

// TestKnockdParse compares what knockd itself reads, as it says with -D, with what
// is read here: the configurations of the importer's tests, and hundreds that were
// spoilt at random.
func TestKnockdParse(t *testing.T) {
	t.Parallel()
	labtest.Require(t)
	n, err := lab.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sequences"), " 1,2,3\n", 0o600)
	accepted, refused := 0, 0
	compare := func(text string) {
		text = strings.ReplaceAll(text, "/etc/knockd/smtp_sequences", filepath.Join(dir, "sequences"))
		theirs, ok := knockdReads(t, n, dir, text)
		ours := "refused"
		if c, _ := knockd.Parse("knockd.conf", []byte(text)); c != nil {
			ours = asKnockd(c)
		}
		if ok {
			accepted++
		} else {
			refused++
			theirs = "refused"
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("of\n%q\n(-knockd +tirl)\n%s", text, diff)
		}
	}
	var seeds []string
	for _, text := range configurations(t) {
		seeds = append(seeds, text)
	}
	slices.Sort(seeds)
	for _, text := range seeds {
		compare(text)
	}
	if accepted != len(seeds) {
		t.Errorf("knockd accepts %d of %d configurations", accepted, len(seeds))
	}
	r := rand.New(rand.NewPCG(7, 1))
	for range 200 {
		compare(spoil(r, seeds[r.IntN(len(seeds))]))
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
	if accepted < 80 || refused < 50 {
		t.Error("the comparison says little")
	}
}

// spoil changes a configuration in a few places. What would open a file goes.
func spoil(r *rand.Rand, text string) string {
	text = strings.ReplaceAll(text, "one_time_sequences", "# one_time_sequences")
	pieces := []string{"[", "]", "[]", "=", " ", ",", ":", "\n", "\r\n", "#", "!", "-", "0", "70000", "\t", ";", "\"", "udp", "\x00", "\n[options]\n", "\n[x]\n",
		"UseSyslog\n", "\nsequence = 1,2:UDP : x,abc,,-1\n", "\ntcpflags = syn,!ack\n", "\ntcpflags = ack\n", "Interface", "timeout = 3x\n", "\nCommand_6 =\n", "\v"}
	b := []byte(text)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b) + 1)
		switch r.IntN(3) {
		case 0:
			b = slices.Insert(b, at, []byte(pieces[r.IntN(len(pieces))])...)
		case 1:
			b = slices.Delete(b, at, min(len(b), at+1+r.IntN(12)))
		default:
			if at < len(b) {
				b[at] ^= 0x20
			}
		}
	}
	return string(b)
}

// knockdReads gives what knockd says that it has read. It ends at once: there is
// no such interface.
func knockdReads(t *testing.T, n *lab.Namespace, dir, text string) (string, bool) {
	t.Helper()
	file := filepath.Join(dir, "knockd.conf")
	write(t, file, text, 0o600)
	cmd := exec.Command(tool.Find("knockd"), "-D", "-i", "nosuch0", "-c", file)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // always fails
	if strings.Contains(out.String(), "usage: knockd") {
		return "", false
	}
	all := []*section{newSection("", true)}
	for line := range strings.SplitSeq(out.String(), "\n") {
		line, ok := strings.CutPrefix(line, "config: ")
		if !ok {
			continue
		}
		now := all[len(all)-1]
		if name, ok := strings.CutPrefix(line, "new section: '"); ok {
			name = strings.TrimSuffix(name, "'")
			all = append(all, newSection(name[:min(len(name), 127)], name == "options"))
			continue
		}
		if flag, ok := strings.CutPrefix(line, "tcp flag: "); ok {
			now.flag(flag)
			continue
		}
		if !now.isOptions {
			line = strings.TrimPrefix(line, now.name+": ")
		}
		key, value, _ := strings.Cut(line, ": ")
		now.values[key] = value
	}
	return summary(all), true
}

// section is what is known of one, by the names that knockd has for it.
type section struct {
	name       string
	isOptions  bool
	values     map[string]string
	set, clear string // of the flags, each a letter
}

func newSection(name string, isOptions bool) *section {
	s := &section{name: name, isOptions: isOptions, values: map[string]string{}}
	if !isOptions {
		s.values["seq_timeout"], s.values["cmd_timeout"] = "25", "10"
	}
	return s
}

func (s *section) flag(name string) {
	name, clear := strings.CutPrefix(name, "!")
	letter := name[:1]
	s.set, s.clear = strings.ReplaceAll(s.set, letter, ""), strings.ReplaceAll(s.clear, letter, "")
	if clear {
		s.clear += letter
	} else {
		s.set += letter
	}
}

func sorted(letters string) string {
	b := []byte(letters)
	slices.Sort(b)
	return string(b)
}

// summary writes the doors in their order, and of all [options] what counts.
func summary(all []*section) string {
	options := map[string]string{}
	var b strings.Builder
	for _, s := range all {
		if s.isOptions {
			maps.Copy(options, s.values)
			continue
		}
		if _, ok := s.values["usesyslog"]; ok {
			options["usesyslog"] = ""
			delete(s.values, "usesyslog")
		}
		if _, ok := s.values["one time sequences file"]; ok {
			delete(s.values, "sequence")
		}
		fmt.Fprintf(&b, "[%s] set %s clear %s\n", s.name, sorted(s.set), sorted(s.clear))
		for _, key := range slices.Sorted(maps.Keys(s.values)) {
			fmt.Fprintf(&b, "  %s = %s\n", key, s.values[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		fmt.Fprintf(&b, "%s = %s\n", key, options[key])
	}
	return b.String()
}

// asKnockd says the same of what was read here.
func asKnockd(c *knockd.Config) string {
	options := newSection("options", true)
	all := []*section{options}
	value := func(s *section, key string, v *knockd.Setting) {
		if v != nil {
			s.values[key] = v.Text
		}
	}
	value(options, "log file", c.LogFile)
	value(options, "pid file", c.PidFile)
	if c.Syslog {
		options.values["usesyslog"] = ""
	}
	for _, d := range c.Doors {
		s := newSection(d.Name, false)
		all = append(all, s)
		value(s, "target", d.Target)
		value(s, "start_command", d.Start)
		value(s, "start_command_6", d.Start6)
		value(s, "stop_command", d.Stop)
		value(s, "stop_command_6", d.Stop6)
		value(s, "one time sequences file", d.OneTime)
		s.values["seq_timeout"] = fmt.Sprint(int64(d.SeqTimeout.Seconds()))
		s.values["cmd_timeout"] = fmt.Sprint(int64(d.CmdTimeout.Seconds()))
		if d.OneTime == nil {
			var ports []string
			for _, p := range d.Ports() {
				ports = append(ports, fmt.Sprintf("%d:%s", p.Number, p.Proto))
			}
			s.values["sequence"] = strings.Join(ports, ",")
		}
		for bit, letter := range map[uint8]string{automaton.FIN: "F", automaton.SYN: "S", automaton.RST: "R", automaton.PSH: "P", automaton.ACK: "A", automaton.URG: "U"} {
			if d.Flags.Set&bit != 0 {
				s.set += letter
			}
			if d.Flags.Clear&bit != 0 {
				s.clear += letter
			}
		}
	}
	return summary(all)
}
