package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"tirl/internal/automaton"
	"tirl/internal/knockd"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/remark"
)

// read says all that can be said of one section by itself.
func (k *knockdImport) read(section *knockd.Door) *door {
	d := &door{Door: section, remarks: map[string][]remark.Paragraph{}}
	d.start, d.stop = k.command(d, d.StartFor(false)), k.command(d, d.StopFor(false))
	d.start6, d.stop6 = d.start, d.stop
	if d.Start6 != nil {
		d.start6 = k.command(d, d.StartFor(true))
	}
	if d.Stop6 != nil {
		d.stop6 = k.command(d, d.StopFor(true))
	}
	k.settings(d)
	k.sequence(d)
	k.times(d)
	k.flags(d)
	k.limits(d)
	return d
}

// command reads a command, and says what it has to say about it.
func (k *knockdImport) command(d *door, s *knockd.Setting) *commands {
	if s == nil {
		return nil
	}
	key := "opens"
	if strings.HasPrefix(s.Key, "STOP") {
		key = "open_for"
	}
	c := readCommands(s.Text, knockd.Address)
	for _, r := range c.remarks {
		k.warn(d, key, s.At+r.at, r.hint, "%s", r.text)
	}
	for _, r := range c.unread {
		k.left++
		k.warn(d, key, s.At+min(r.at, len(s.Text)), r.hint, "%s", r.text)
	}
	if n := strings.LastIndexByte(s.Text, '#'); c.comment != "" && n >= 0 {
		k.warn(d, key, s.At+strings.LastIndex(s.Text, c.comment), "", "knockd knows no comments behind a value: the shell left it out")
	}
	if isQuoted(s.Text) {
		k.warn(d, key, s.At, "", "knockd takes quotes as they are: the shell looked for a program with this whole name")
	}
	return c
}

func isQuoted(s string) bool {
	return len(s) > 1 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0]
}

// acts is the command that the door is about, and where it stands.
func (d *door) acts() (c *commands, at int) {
	switch {
	case d.start != nil:
		return d.start, d.StartFor(false).At
	case d.start6 != nil:
		return d.start6, d.StartFor(true).At
	}
	return nil, d.At
}

// services are what the door opens.
func (d *door) services() []string {
	if c, _ := d.acts(); c != nil && !c.opensAll {
		return texts(c.opens)
	}
	return nil
}

// closing says whether there is a stop_command that closes what was opened, or,
// since it could not be read, may do so, and whether it could be read.
func (d *door) closing() (closes, reads bool) {
	start, stop := d.start, d.stop
	if start == nil {
		start, stop = d.start6, d.stop6
	}
	if stop == nil || start == nil {
		return false, false
	}
	return len(stop.unread) > 0 || covers(stop, start.opens), true
}

// covers says whether a command closes some of the services.
func covers(c *commands, services []port.Range) bool {
	if c == nil {
		return false
	}
	return c.closesAll || len(c.closes) > 0 && slices.ContainsFunc(services, func(s port.Range) bool { return within([]port.Range{s}, c.closes) })
}

// family is the from of a door that only one family opens in knockd.
func (d *door) family() string {
	switch {
	case d.start != nil && (d.start6 == nil || !slices.Equal(d.start.opens, d.start6.opens)):
		return "0.0.0.0/0"
	case d.start == nil && d.start6 != nil:
		return "::/0"
	}
	return ""
}

// settings looks at the form of each directive.
func (k *knockdImport) settings(d *door) {
	for _, s := range d.Settings {
		if !s.Used {
			k.warn(d, "", s.From, "", "%s is given again below: this one has no effect", strings.ToLower(s.Key))
		}
		isCommand := strings.Contains(s.Key, "COMMAND")
		if n := strings.Index(s.Text, "#"); n >= 0 && !isCommand {
			k.warn(d, "", s.At+n, "", "knockd knows no comments behind a value: this is a part of it")
		}
		if isQuoted(s.Text) && !isCommand {
			k.warn(d, "", s.At, "", "knockd takes quotes as they are: they are a part of the value")
		}
	}
	if d.Target != nil {
		k.refuse(d, d.Target.At, "if "+d.Target.Text+" is an address of this host, take the # away: the door then takes knocks at its other addresses too",
			"Target: knocks count only if they are sent to %s, and tirl takes those to every address of the host", quote(d.Target.Text))
	}
	if d.OneTime != nil {
		k.refuse(d, d.OneTime.At, "", "One_Time_Sequences: the sequences stand in %s, and each is used once", quote(d.OneTime.Text))
	}
}

func (k *knockdImport) sequence(d *door) {
	for _, s := range d.Sequence {
		number, _, _ := strings.Cut(s.Text, ":")
		number = strings.Trim(number, " \t")
		if strings.TrimLeft(number, "0123456789") != "" || number == "" || s.Number == 0 {
			k.warn(d, "knocks", s.At, "", "knockd reads %s as port %d", quote(number), s.Number)
		}
	}
	if i := slices.IndexFunc(d.Sequence, func(s knockd.Knock) bool { return s.Number == 0 }); i >= 0 {
		k.refuse(d, d.Sequence[i].At, "", "port 0 is no knock")
	}
	if n := len(d.Sequence); n > policy.MaxKnocks {
		k.refuse(d, d.SequenceAt, "", "it has %d knocks, and tirl takes %d", n, policy.MaxKnocks)
	}
	if len(d.Sequence) > 2 && d.OneTime == nil {
		way := ""
		compare := func(a, b knockd.Knock) int { return int(a.Number) - int(b.Number) }
		switch {
		case slices.IsSortedFunc(d.Sequence, compare):
			way = "up"
		case slices.IsSortedFunc(d.Sequence, func(a, b knockd.Knock) int { return compare(b, a) }):
			way = "down"
		}
		if way != "" {
			k.warn(d, "knocks", d.SequenceAt, "draw others at random: tirl gen", "the ports go %s: a scan of all ports in that order opens knockd's door, and not tirl's; but such a sequence is guessed first", way)
		}
	}
}

func (k *knockdImport) times(d *door) {
	for _, s := range d.Settings {
		if !s.Used || s.Key != "CMD_TIMEOUT" && s.Key != "SEQ_TIMEOUT" && s.Key != "TIMEOUT" {
			continue
		}
		read := d.SeqTimeout
		if s.Key == "CMD_TIMEOUT" {
			read = d.CmdTimeout
		}
		if seconds := int64(read.Seconds()); strconv.FormatInt(seconds, 10) != s.Text {
			k.warn(d, "", s.At, "", "knockd reads %s as %d s", quote(s.Text), seconds)
		}
		if s.Key != "CMD_TIMEOUT" && read > 30*time.Second {
			k.warn(d, "knocks", s.At, "10 s is enough for a program that knocks", "%s for a sequence leaves time to guess", policy.FormatDuration(read))
		}
	}
	if d.SeqTimeout <= 0 && len(d.Sequence) > 1 {
		k.refuse(d, d.At, "", "with a seq_timeout of %d no attempt lives long enough to open it", int64(d.SeqTimeout.Seconds()))
	}
	if _, reads := d.closing(); reads && d.CmdTimeout == 0 {
		k.refuse(d, d.At, "", "with a cmd_timeout of 0 it closes in the moment that it opens")
	}
}

func isUDP(r port.Range) bool { return r.Proto == port.UDP }

func (k *knockdImport) flags(d *door) {
	hasTCP := slices.ContainsFunc(d.Sequence, func(s knockd.Knock) bool { return s.Proto == port.TCP })
	switch {
	case d.FlagsAt >= 0 && !hasTCP:
		k.warn(d, "knocks", d.FlagsAt, "", "tcpflags has no effect: there is no TCP in the sequence")
	case d.FlagsAt >= 0 && !d.Flags.Match(automaton.SYN):
		k.refuse(d, d.FlagsAt, "knock with plain connection attempts, and leave tcpflags out", "its knocks are TCP packets with other flags, and tirl hears connection attempts (SYN) only")
	case d.FlagsAt >= 0 && d.Flags.Set&automaton.SYN == 0, d.FlagsAt < 0 && hasTCP:
		k.warn(d, "knocks", d.sequenceAt(), "", "without tcpflags = syn every TCP packet to these ports counts in knockd, also those of open connections; tirl hears connection attempts (SYN) only")
	}
}

func (d *door) sequenceAt() int {
	if d.SequenceAt < 0 {
		return d.At
	}
	return d.SequenceAt
}

// limits says what of the commands a door cannot have, and how the families differ.
func (k *knockdImport) limits(d *door) {
	c, at := d.acts()
	switch {
	case c == nil:
		k.refuse(d, d.At, "", "it has no command: knockd only writes to its log")
		return
	case c.opensAll:
		k.refuse(d, at, "write the services that the door hides into opens", "it opens every port to the client")
	case len(c.opens) == 0 && len(c.unread) > 0:
		k.refuse(d, at, "", "what its command opens is not known")
	}
	if len(c.opens) == 0 {
		return
	}
	const fails = "for a client with an %[1]s address knockd runs this same command, which then fails; tirl's door opens to %[1]s as well"
	if d.start != nil && d.Start6 == nil && !d.start.v6 && (k.host == nil || k.host.HasIPv6) {
		k.warn(d, "", at, `add from = ["0.0.0.0/0"] to keep IPv6 out`, fails, "IPv6")
	}
	if d.start != nil && !d.start.v4 {
		k.warn(d, "", at, `add from = ["::/0"] to keep IPv4 out`, fails, "IPv4")
	}
	if d.Start6 != nil && d.start != nil {
		switch {
		case d.start6 == nil:
			k.warn(d, "from", d.Start6.From, "", "nothing is run for a client with an IPv6 address")
		case !slices.Equal(d.start.opens, d.start6.opens):
			k.left++
			k.warn(d, "from", d.Start6.At, "", "this opens something else than for IPv4 (%s), and is not carried over: a sequence has one door",
				strings.Join(append(texts(d.start6.opens), "nothing that is known")[:max(1, len(d.start6.opens))], ", "))
		}
	}
}

// pair puts doors that only close to those that they close.
func (k *knockdImport) pair() {
	for _, d := range k.doors {
		c, at := d.acts()
		if c == nil || len(c.opens) > 0 || c.opensAll || len(c.unread) > 0 || len(d.reasons) > 0 {
			continue
		}
		for _, other := range k.doors {
			if o, _ := other.acts(); other != d && o != nil && len(o.opens) > 0 && !c.closesAll && covers(c, o.opens) {
				other.closedBy = append(other.closedBy, d)
				d.closer = true
				k.found = append(k.found, k.config.Source.Diagnose(d.At, policy.Warning, closerText(d, other), closerHint))
			}
		}
		if !d.closer {
			k.refuse(d, at, "", "it opens nothing: %s", what(c))
		}
	}
}

func what(c *commands) string {
	switch {
	case c.closesAll:
		return "it closes every port to the client"
	case len(c.closes) > 0:
		return "it closes " + strings.Join(texts(c.closes), ", ")
	}
	return "its command changes no service"
}

func closerText(closer, opener *door) string {
	return fmt.Sprintf("[%s] only closes what [%s] opens, and has no door: tirl closes by itself", closer.Name, opener.Name)
}

const closerHint = "to close sooner: tirl revoke ADDRESS DOOR"
