package knockd

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/policy"
)

// maxLine is how much of a line knockd takes at once (fgets of PATH_MAX bytes):
// what is beyond it is another line.
const maxLine = 4095

const (
	maxSection   = 254
	maxName      = 127
	maxInterface = 31
)

// Parse reads a configuration file. The name is for messages only.
//
// All that knockd would refuse is reported, where knockd itself stops at the
// first; the configuration is then nil.
func Parse(file string, text []byte) (*Config, policy.Diagnostics) {
	p := &parser{src: policy.NewSource(file, bytes.Clone(text))}
	p.config = &Config{Source: p.src}
	for at := 0; at < len(text); {
		size := min(maxLine, len(text)-at)
		if n := bytes.IndexByte(text[at:at+size], '\n'); n >= 0 {
			size = n + 1
		}
		line := text[at : at+size]
		if n := bytes.IndexByte(line, 0); n >= 0 {
			line = line[:n] // a string of C ends there
		}
		p.line(string(line), at)
		at += size
	}
	p.finish()
	if p.found.HasErrors() {
		p.found.Sort()
		return nil, p.found
	}
	return p.config, nil
}

// maxErrors bounds the answer to a file of nothing but mistakes.
const maxErrors = 100

type parser struct {
	src     policy.Source
	config  *Config
	found   policy.Diagnostics
	section string
	door    *Door          // nil in [options]
	last    int            // number of the last line read
	known   map[string]int // directives of the section, by their full names: index of the last
}

func (p *parser) errorf(at int, hint, format string, args ...any) {
	if len(p.found) < maxErrors {
		p.found = append(p.found, p.src.Diagnose(at, policy.Error, fmt.Sprintf(format, args...), hint))
	}
}

// spaces are those of isspace(3) in the C locale, the only one that knockd knows.
const spaces = " \t\n\v\f\r"

// trim gives a text without blanks around it, and where it begins.
func trim(s string, at int) (string, int) {
	short := strings.TrimLeft(s, spaces)
	return strings.TrimRight(short, spaces), at + len(s) - len(short)
}

// upper is toupper(3) in the C locale.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

func (p *parser) line(text string, at int) {
	text, at = trim(text, at)
	if text == "" || text[0] == '#' {
		return
	}
	number := p.src.Position(at).Line
	defer func() { p.last = number }()
	if text[0] == '[' && text[len(text)-1] == ']' && len(text) > 1 {
		p.header(text, at, number)
		return
	}
	if p.section == "" {
		hint := ""
		if strings.HasPrefix(text, "\ufeff") {
			hint = "the file begins with a byte order mark: save it as UTF-8 without one"
		}
		p.errorf(at, hint, "a directive before the first section")
		return
	}
	p.directive(text, at, number)
}

func (p *parser) header(text string, at, number int) {
	name := text[1:]
	name = name[:min(len(name), maxSection+1)]
	name = name[:len(name)-1]
	if p.door != nil {
		p.door.End = p.last
	}
	p.section, p.door, p.known = name, nil, map[string]int{}
	switch name {
	case "":
		// Knockd takes what follows for directives outside any section.
		p.errorf(at, "", "the section has no name")
	case "options":
	default:
		p.door = &Door{Name: name[:min(len(name), maxName)], At: at, Line: number,
			SequenceAt: -1, FlagsAt: -1, SeqTimeout: DefaultSeqTimeout, CmdTimeout: DefaultCmdTimeout}
		p.config.Doors = append(p.config.Doors, p.door)
	}
}

func (p *parser) directive(text string, at, number int) {
	key, value, hasValue := strings.Cut(text, "=")
	from := at
	if hasValue {
		value, at = trim(value, at+len(key)+1)
	}
	key, _ = trim(key, 0)
	s := Setting{Key: upper(key), Text: value, At: at, From: from, Line: number, Raw: text, Used: true}
	switch {
	case !hasValue && s.Key == "USESYSLOG":
		p.config.Syslog = true
	case !hasValue:
		hint := ""
		if strings.HasPrefix(text, "[") || strings.HasPrefix(text, ";") || strings.HasPrefix(text, "//") {
			hint = "a section is [name] with nothing behind it; a comment begins with # at the beginning of a line"
		}
		p.errorf(from, hint, "%s is neither a section nor a directive", show(text))
		return
	case s.Key == "USESYSLOG":
		p.errorf(from, "write UseSyslog alone, without =", "UseSyslog takes no value")
		return
	case p.door == nil:
		p.option(&s)
	default:
		p.setting(s)
	}
	list := &p.config.Options
	if p.door != nil {
		list = &p.door.Settings
	}
	key = fullName(s.Key)
	if i, again := p.known[key]; again && s.Used && key != "TCPFLAGS" && key != "USESYSLOG" { // flags add up
		(*list)[i].Used = false
	}
	p.known[key] = len(*list)
	*list = append(*list, s)
}

// fullName is that of a directive that has two.
func fullName(key string) string {
	switch key {
	case "COMMAND", "COMMAND_6":
		return "START_" + key
	case "TIMEOUT":
		return "SEQ_TIMEOUT"
	}
	return key
}

// show quotes a part of the file in a message.
func show(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

func (p *parser) option(s *Setting) {
	switch s.Key {
	case "LOGFILE":
		p.config.LogFile = s
	case "PIDFILE":
		p.config.PidFile = s
	case "INTERFACE":
		// The one directive of which the first counts.
		s.Used = p.config.Interface == nil || p.config.Interface.Text == ""
		if s.Used {
			name := *s
			name.Text = s.Text[:min(len(s.Text), maxInterface)]
			p.config.Interface = &name
		}
	default:
		p.errorf(s.From, "", "%s is no directive of [options]", show(s.Key))
	}
}

func (p *parser) setting(s Setting) {
	d := p.door
	switch s.Key {
	case "TARGET":
		d.Target = &s
	case "SEQUENCE":
		d.SequenceAt = s.At
		d.Sequence = p.sequence(s)
	case "ONE_TIME_SEQUENCES":
		d.OneTime = &s
	case "SEQ_TIMEOUT", "TIMEOUT":
		d.SeqTimeout = time.Duration(atoi(s.Text)) * time.Second
	case "CMD_TIMEOUT":
		d.CmdTimeout = time.Duration(atoi(s.Text)) * time.Second
	case "START_COMMAND", "COMMAND":
		d.Start = &s
	case "START_COMMAND_6", "COMMAND_6":
		d.Start6 = &s
	case "STOP_COMMAND":
		d.Stop = &s
	case "STOP_COMMAND_6":
		d.Stop6 = &s
	case "TCPFLAGS":
		d.FlagsAt = s.At
		p.flags(s)
	default:
		hint := ""
		if name := upper(s.Key); name == "LOGFILE" || name == "PIDFILE" || name == "INTERFACE" {
			hint = "it belongs in [options], in small letters"
		}
		p.errorf(s.From, hint, "%s is no directive of a door", show(s.Key))
	}
}

// flagBit knows the names that tcpflags takes.
func flagBit(name string) (uint8, bool) {
	switch name {
	case "FIN":
		return automaton.FIN, true
	case "SYN":
		return automaton.SYN, true
	case "RST":
		return automaton.RST, true
	case "PSH":
		return automaton.PSH, true
	case "ACK":
		return automaton.ACK, true
	case "URG":
		return automaton.URG, true
	}
	return 0, false
}

// flags reads tcpflags, a list without blanks.
func (p *parser) flags(s Setting) {
	at := s.At
	for word := range strings.SplitSeq(s.Text, ",") {
		name, clear := strings.CutPrefix(upper(word), "!")
		bit, ok := flagBit(name)
		if !ok {
			hint := "a list without blanks of fin, syn, rst, psh, ack, urg, each with or without a ! in front"
			p.errorf(at, hint, "%s is no TCP flag", show(word))
			return
		}
		f := &p.door.Flags
		f.Set, f.Clear = f.Set&^bit, f.Clear&^bit
		if clear {
			f.Clear |= bit
		} else {
			f.Set |= bit
		}
		at += len(word) + 1
	}
}

func (p *parser) finish() {
	for _, d := range p.config.Doors {
		if d.End == 0 {
			d.End = max(d.Line, p.last)
		}
		if d.SequenceAt < 0 && d.OneTime == nil {
			p.errorf(d.At, "add sequence = PORT,PORT,PORT, or remove the section", "door %s has no sequence", show(d.Name))
		}
	}
}
