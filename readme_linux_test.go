// Package tirl_test keeps the README true: its policies parse, and its sessions
// print what it says they print.
package tirl_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tirl/internal/lab"
	"tirl/internal/lab/labtest"
	"tirl/internal/policy"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

type block struct {
	lang, text string
	line       int
}

// blocks cuts the fenced code out of a Markdown file.
func blocks(t *testing.T, file string) []block {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var open *block
	for i, line := range strings.Split(string(text), "\n") {
		lang, fence := strings.CutPrefix(line, "```")
		// The examples of a file format's manual.
		if manual := strings.HasPrefix(file, "man/"); manual && line == ".Bd -literal -offset indent" {
			lang, fence = "toml", true
		} else if manual && line == ".Ed" {
			fence = true
		}
		switch {
		case fence && open == nil:
			lang, _, _ = strings.Cut(lang, " ") // words after it are for readers of the source
			open = &block{lang: lang, line: i + 1}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the code does not end", file, open.line)
	}
	return all
}

// isHosts says whether it is a client's hosts file, and no policy.
func (b block) isHosts() bool { return strings.Contains("\n"+b.text, "\n[host.") }

// build makes the program.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tirl")
	cmd := exec.Command("go", "build", "-o", binary, "./cmd/tirl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build tirl: %v\n%s", err, out)
	}
	return binary
}

// documents are those whose examples are tried.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"README.md", "man/tirl-policy.5"}, docs...)
}

// policies are those that a document shows, as its TOML and in its YAML.
func policies(t *testing.T, file string) []block {
	t.Helper()
	var all []block
	for _, b := range blocks(t, file) {
		switch {
		case b.lang == "toml" && !b.isHosts():
			all = append(all, b)
		case b.lang == "yaml":
			if _, text, ok := strings.Cut(b.text, "content: |\n"); ok {
				all = append(all, block{text: indented(text), line: b.line})
			}
		}
	}
	return all
}

// indented gives the lines at the beginning that are as far in as the first, without that.
func indented(text string) string {
	margin := text[:len(text)-len(strings.TrimLeft(text, " "))]
	var b strings.Builder
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, margin)
		if !ok && strings.TrimSpace(line) != "" {
			break
		}
		b.WriteString(strings.TrimLeft(rest, " "))
	}
	return b.String()
}

func TestPoliciesPassCheck(t *testing.T) {
	binary := build(t)
	n := 0
	for _, file := range documents(t) {
		for _, b := range policies(t, file) {
			n++
			cmd := exec.Command(binary, "check", "--no-host", "-")
			cmd.Stdin = strings.NewReader(b.text)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s:%d: %v\n%s", file, b.line, err, out)
			}
		}
		for _, b := range blocks(t, file) {
			if b.lang == "toml" && b.isHosts() {
				if _, found := policy.ParseHosts(file, []byte(b.text)); found.HasErrors() {
					t.Errorf("%s:%d: %v", file, b.line, found)
				}
			}
			// A session that is not to be run is text.
			if first, _, _ := strings.Cut(b.text, "\n"); b.lang == "" && prompt.MatchString(first) {
				t.Errorf("%s:%d: a session is console, or text", file, b.line)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d policies were found", n)
	}
}

// prompt is that of a session: who types, and what.
var prompt = regexp.MustCompile(`^(server#|client\$|\$) (.*)$`)

// TestSessions types every session of the documents in, on a server and a client
// in network namespaces. A session goes on where the one before it in
// the same document ended; the policy in force is the last TOML before it.
func TestSessions(t *testing.T) {
	labtest.Require(t)
	binary := build(t)
	commands := 0
	for _, file := range documents(t) {
		if !slices.ContainsFunc(blocks(t, file), func(b block) bool { return b.lang == "console" }) {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			s := newSession(t, binary)
			for _, b := range blocks(t, file) {
				switch b.lang {
				case "toml":
					s.write(b.text)
				case "console":
					commands += s.play(file, b)
				}
			}
		})
	}
	if commands < 12 {
		t.Errorf("only %d commands were tried", commands)
	}
}

type session struct {
	*lab.Pair
	t       *testing.T
	root    string // stands for / of the server
	current string // the client's directory
}

func newSession(t *testing.T, binary string) *session {
	s := &session{Pair: labtest.Pair(t, lab.PairOptions{}), t: t, root: t.TempDir(), current: t.TempDir()}
	bin := t.TempDir()
	wrapper := fmt.Sprintf("#!/bin/sh\nexec %s --root %s \"$@\"\n", binary, s.root)
	if err := os.WriteFile(filepath.Join(bin, "tirl"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, number := range []int{22, 80} {
		err := s.Server.Do(func() error {
			l, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", number))
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// write makes a policy the server's, and puts a copy where the user is.
func (s *session) write(text string) {
	s.t.Helper()
	etc := filepath.Join(s.root, "etc/tirl")
	if err := os.MkdirAll(etc, 0o700); err != nil {
		s.t.Fatal(err)
	}
	for _, dir := range []string{etc, s.current} {
		if err := os.WriteFile(filepath.Join(dir, "policy.toml"), []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

// play types a session in and compares what is printed.
func (s *session) play(file string, b block) (commands int) {
	lines := strings.Split(strings.TrimSuffix(b.text, "\n"), "\n")
	for i := 0; i < len(lines); {
		m := prompt.FindStringSubmatch(lines[i])
		if m == nil {
			s.t.Errorf("%s:%d: no prompt: %s", file, b.line+1+i, lines[i])
			return commands
		}
		at := i
		var want []string
		for i++; i < len(lines) && !prompt.MatchString(lines[i]); i++ {
			want = append(want, lines[i])
		}
		commands++
		// A policy that the session shows is the one that it uses.
		if m[2] == "cat /etc/tirl/policy.toml" {
			s.write(strings.Join(want, "\n") + "\n")
			continue
		}
		got := s.typed(m[1], m[2])
		if text := strings.ReplaceAll(strings.Join(want, "\n"), "SERVER", lab.Server4().String()); got != text {
			s.t.Errorf("%s:%d: %s\nprints\n%s\nnot\n%s", file, b.line+1+at, m[2], got, text)
		}
	}
	return commands
}

// typed runs a command line where its prompt says.
func (s *session) typed(who, line string) string {
	n := s.Client
	if who == "server#" {
		n = s.Server
	}
	line = strings.ReplaceAll(line, "SERVER", lab.Server4().String())
	line = strings.ReplaceAll(line, "/etc/tirl/", s.root+"/etc/tirl/")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, _ := n.Run(ctx, "", "sh", "-c", "cd "+s.current+" && { "+line+"; } 2>&1")
	return strings.TrimRight(out, "\n")
}
