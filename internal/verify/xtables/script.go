package xtables

import (
	"errors"
	"strconv"
	"strings"

	"tirl/internal/shell"
	"tirl/internal/verify/ruleset"
)

// ParseScript reads a shell script of iptables and ip6tables commands. It begins
// with empty tables and the policy ACCEPT, as a host does that has just started,
// and every command is taken to succeed, so that what stands behind || is passed
// over. Nothing is run, and nothing guessed: what a shell decides while it runs
// (conditions, loops, functions, the output of commands) is an error that names
// it, and so is every other command than a few that change no rule.
func ParseScript(text string) (*ruleset.Ruleset, error) {
	line, err := shell.Split(text)
	if err != nil {
		return nil, inShell(1, text, err)
	}
	s := &script{values: make(map[string]string), line: 1}
	at := 0
	for _, c := range line.Commands {
		s.line += strings.Count(text[at:c.At], "\n")
		at = c.At
		if err := s.command(c); err != nil {
			return nil, err
		}
		if s.over {
			break
		}
	}
	return build(&s.all)
}

// inShell says on which line of a text what is not understood is.
func inShell(line int, text string, err error) error {
	var e *shell.Error
	if !errors.As(err, &e) {
		return fail(line, "%v", err)
	}
	return unknown(line+strings.Count(text[:min(e.At, len(text))], "\n"), "script %s", e.Text)
}

// script is how far a script has come.
type script struct {
	all    host
	values map[string]string // of variables
	tools  [2]string         // the names of iptables and ip6tables that it used
	line   int
	over   bool
}

func (s *script) command(c shell.Command) error {
	switch {
	case c.Piped:
		return unknown(s.line, "a pipe")
	case c.After == "&":
		return unknown(s.line, "a command in the background")
	case c.After == "||":
		return nil
	}
	if _, ok := c.Words[0].Assigns(); ok {
		return s.assign(c.Words)
	}
	var words []shell.Word
	for _, w := range c.Words {
		parts, ok := w.Expand(s.value)
		if !ok {
			return unknown(s.line, "`%s`", clip(w.Text))
		}
		for _, text := range parts {
			words = append(words, shell.Word{Text: text, At: w.At})
		}
	}
	if len(words) == 0 {
		return nil
	}
	// What was no assignment before is none now, and exec ends the script.
	if _, ok := words[0].Assigns(); ok || words[0].Text == "exec" {
		return unknown(s.line, "command `%s`", clip(words[0].Text))
	}
	c.Words = words
	return s.unwrap(c)
}

// unwrap runs what is behind sudo and the like.
func (s *script) unwrap(c shell.Command) error {
	all, err := shell.Unwrap(c)
	if err != nil {
		return inShell(s.line, "", err)
	}
	for _, inner := range all {
		plain := inner.After == c.After || inner.After == "" || inner.After == ";" || inner.After == "&&"
		if inner.Open() || inner.Piped || !plain {
			return unknown(s.line, "shell in a shell")
		}
		if err := s.run(inner); err != nil {
			return err
		}
	}
	return nil
}

func (s *script) value(name string) (string, bool) {
	v, ok := s.values[name]
	return v, ok
}

// assign sets variables.
func (s *script) assign(words []shell.Word) error {
	for _, w := range words {
		name, ok := w.Assigns()
		if !ok {
			return unknown(s.line, "a command with `%s` in front", clip(words[0].Text))
		}
		value, ok := w.Expand(s.value)
		if !ok || len(value) != 1 || name == "IFS" {
			return unknown(s.line, "`%s`", clip(w.Text))
		}
		s.values[name] = strings.TrimPrefix(value[0], name+"=")
	}
	return nil
}

// run carries out a command without anything in front.
func (s *script) run(c shell.Command) error {
	switch name := c.Name(); name {
	case ":", "true", "echo", "printf", "modprobe", "sysctl":
		return nil
	case "set":
		for _, flag := range c.Args() {
			if !isSetFlag(flag) {
				return unknown(s.line, "command `set %s`", clip(flag))
			}
		}
		return nil
	case "export", "readonly":
		return s.assign(c.Words[1:])
	case "exit":
		s.over = true
		return nil
	case "iptables", "iptables-legacy", "iptables-nft":
		return s.iptables(c, &s.all.ipv4, &s.tools[0])
	case "ip6tables", "ip6tables-legacy", "ip6tables-nft":
		return s.iptables(c, &s.all.ipv6, &s.tools[1])
	default:
		return unknown(s.line, "command `%s`", clip(c.Words[0].Text))
	}
}

// isSetFlag knows what of the shell's set changes nothing of a script whose
// commands succeed.
func isSetFlag(flag string) bool {
	switch flag {
	case "-o", "errexit", "nounset", "xtrace", "pipefail":
		return true
	}
	letters, ok := strings.CutPrefix(flag, "-")
	return ok && letters != "" && strings.Trim(letters, "euxo") == ""
}

// iptables runs one command on a table.
func (s *script) iptables(c shell.Command, all *tables, tool *string) error {
	if *tool != "" && *tool != c.Name() {
		return unknown(s.line, "`%s` beside `%s`", c.Name(), *tool)
	}
	*tool = c.Name()
	name, words, err := s.options(c.Args())
	if err != nil {
		return err
	}
	t, err := all.open(name, s.line)
	if err != nil {
		return err
	}
	return t.run(command{line: s.line, text: c.Text, words: words})
}

// options takes those out that are of the program and not of a rule.
func (s *script) options(words []string) (table string, rest []string, err error) {
	table = "filter"
	for len(words) > 0 {
		words = detach(words)
		switch words[0] {
		case "-t", "--table":
			if len(words) < 2 {
				return "", nil, fail(s.line, "-t lacks its value")
			}
			table, words = words[1], words[2:]
		case "-w", "--wait":
			words = words[1:]
			if len(words) > 0 {
				if _, err := strconv.Atoi(words[0]); err == nil {
					words = words[1:]
				}
			}
		case "-v", "--verbose", "-n", "--numeric":
			words = words[1:]
		default:
			return s.table(table, words)
		}
	}
	return table, nil, nil
}

// table finds -t behind the command. A value that only looks like it, such as a
// comment, is an error.
func (s *script) table(table string, words []string) (string, []string, error) {
	for i := 1; i+1 < len(words); i++ {
		if words[i] != "-t" && words[i] != "--table" {
			continue
		}
		if before := words[i-1]; i > 1 && strings.HasPrefix(before, "-") && !strings.Contains(before, "=") {
			return "", nil, unknown(s.line, "`%s` behind `%s`", words[i], clip(words[i-1]))
		}
		rest := append([]string(nil), words[:i]...)
		return words[i+1], append(rest, words[i+2:]...), nil
	}
	return table, words, nil
}
