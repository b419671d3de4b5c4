package xtables

import (
	"strings"
)

// spec is a rule in parts, as iptables takes it apart (xshared.c, do_parse).
// Matches are in the order in which they were loaded, which is the order in
// which the kernel looks at them. What stands in header it looks at first.
type spec struct {
	header  []option
	modules []module
	target  module
	jump    string // -j or -g, "" without either
}

// module is a match or a target with its options.
type module struct {
	name    string
	options []option
}

type option struct {
	name string
	not  bool
	args []string
}

func (m *module) find(name string) *option { return find(m.options, name) }

// value is that of an option, "" if it is not there.
func (m *module) value(name string) string {
	if o := m.find(name); o != nil {
		return o.args[0]
	}
	return ""
}

func find(all []option, name string) *option {
	for i := range all {
		if all[i].name == name {
			return &all[i]
		}
	}
	return nil
}

// scanner reads rules into one spec again and again.
type scanner struct {
	spec
	line  int
	words []string
}

// scan takes the words of a rule apart. The spec is good until the next call.
func (s *scanner) scan(r rule) (*spec, error) {
	s.line, s.words = r.line, r.words
	s.header, s.modules = s.header[:0], s.modules[:0]
	s.jump, s.target.name, s.target.options = "", "", s.target.options[:0]
	for len(s.words) > 0 {
		if err := s.option(); err != nil {
			return nil, err
		}
	}
	return &s.spec, nil
}

// take gives the next n words.
func (s *scanner) take(name string, n int) ([]string, error) {
	if len(s.words) < n {
		return nil, fail(s.line, "%s lacks its value", clip(name))
	}
	args := s.words[:n]
	s.words = s.words[n:]
	return args, nil
}

func (s *scanner) option() error {
	not := s.words[0] == "!"
	if not {
		s.words = s.words[1:]
	}
	if len(s.words) == 0 {
		return fail(s.line, "nothing behind !")
	}
	name := s.words[0]
	if len(name) < 2 || name[0] != '-' || name == "--" {
		return fail(s.line, "%q is out of place", clip(name))
	}
	s.words = detach(s.words)
	name = short(s.words[0])
	s.words = s.words[1:]
	switch name {
	case "-s", "-d", "-i", "-o", "-p":
		args, err := s.take(name, 1)
		if err != nil {
			return err
		}
		return s.add(&s.header, option{name, not, args}, "")
	case "-m", "-j", "-g", "-c":
		if not {
			return fail(s.line, "! cannot stand in front of %s", name)
		}
		return s.load(name)
	case "-f":
		return unknown(s.line, "match `-f`")
	}
	return s.ofModule(name, not)
}

// load reads what names a match or a target, and counters.
func (s *scanner) load(name string) error {
	n := 1
	if name == "-c" {
		n = 2
	}
	args, err := s.take(name, n)
	if err != nil {
		return err
	}
	switch name {
	case "-m":
		if args[0] == "icmpv6" {
			return s.module("icmp6")
		}
		return s.module(args[0])
	case "-j", "-g":
		if s.jump != "" {
			return fail(s.line, "two targets")
		}
		if name == "-j" && isTarget(args[0]) && !isUnderstood(args[0]) {
			return unknown(s.line, "target `%s`", args[0])
		}
		s.jump, s.target.name = name, args[0]
	}
	return nil
}

func (s *scanner) module(name string) error {
	if !isMatch(name) {
		return unknown(s.line, "match `%s`", clip(name))
	}
	if n := len(s.modules); n < cap(s.modules) {
		s.modules = s.modules[:n+1] // with the room for options that it had
		s.modules[n].name, s.modules[n].options = name, s.modules[n].options[:0]
		return nil
	}
	s.modules = append(s.modules, module{name: name})
	return nil
}

// ofModule gives an option to the last match that has such a one, to the target,
// or to the match of the protocol, which is then loaded.
func (s *scanner) ofModule(name string, not bool) error {
	var of *module
	shape, ok := shape{}, false
	for i := len(s.modules) - 1; i >= 0 && !ok; i-- {
		of = &s.modules[i]
		shape, ok = takes(of.name, name)
	}
	if !ok && s.jump == "-j" {
		of = &s.target
		shape, ok = takes(of.name, name)
	}
	if p := find(s.header, "-p"); !ok && p != nil {
		if shape, ok = takes(protoMatch(p.args[0]), name); ok {
			if err := s.module(protoMatch(p.args[0])); err != nil {
				return err
			}
			of = &s.modules[len(s.modules)-1]
		}
	}
	if !ok {
		return unknown(s.line, "option `%s`", clip(name))
	}
	if not && !shape.not {
		return fail(s.line, "! cannot stand in front of %s", name)
	}
	args, err := s.take(name, shape.args)
	if err != nil {
		return err
	}
	return s.add(&of.options, option{shape.name, not, args}, of.name)
}

func (s *scanner) add(to *[]option, o option, of string) error {
	if find(*to, o.name) != nil {
		return fail(s.line, "%s is there twice", strings.TrimSpace(of+" "+o.name))
	}
	*to = append(*to, o)
	return nil
}

// detach splits --dport=22, as getopt_long does. -pudp is left: versions of
// iptables differ on it.
func detach(words []string) []string {
	name, value, ok := strings.Cut(words[0], "=")
	if !ok {
		return words
	}
	return append([]string{name, value}, words[1:]...)
}

// short gives the one name of an option that iptables knows by several.
func short(name string) string {
	switch name {
	case "--source", "--src":
		return "-s"
	case "--destination", "--dst":
		return "-d"
	case "--in-interface":
		return "-i"
	case "--out-interface":
		return "-o"
	case "--protocol", "--proto":
		return "-p"
	case "--fragment", "--fragments":
		return "-f"
	case "--match":
		return "-m"
	case "--jump":
		return "-j"
	case "--goto":
		return "-g"
	case "--set-counters":
		return "-c"
	}
	return name
}
