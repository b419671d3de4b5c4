package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const manuals = "../../man"

func readManual(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manuals, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	listed  = regexp.MustCompile(`(?m)^\.It Fl (\S+)(?: , Fl (\S+))?`)
	pointed = regexp.MustCompile(`(?m)^\.Fl -?(\w+)(?: [,.])?$`)
)

// flagsIn gives the flags that a part of a manual describes: their long names, and -s for
// a short one.
func flagsIn(text string, shared []string) []string {
	var flags []string
	for _, m := range listed.FindAllStringSubmatch(text, -1) {
		for _, name := range m[1:] {
			if name != "" {
				flags = append(flags, name)
			}
		}
	}
	// "Options: -c, -json" points at what is described once.
	_, rest, ok := strings.Cut(text, "\nOptions:\n")
	if ok {
		rest, _, _ = strings.Cut(rest, "\n.Bl")
		for _, m := range pointed.FindAllStringSubmatch(rest, -1) {
			switch m[1] {
			case "c":
				flags = append(flags, "c", "-config")
			default:
				flags = append(flags, "-"+m[1])
			}
		}
	}
	flags = slices.DeleteFunc(flags, func(f string) bool { return slices.Contains(shared, f) })
	slices.Sort(flags)
	return flags
}

// flagsOf gives those that a command has.
func flagsOf(cmd *cobra.Command) []string {
	var flags []string
	add := func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		flags = append(flags, "-"+f.Name)
		if f.Shorthand != "" {
			flags = append(flags, f.Shorthand)
		}
	}
	cmd.LocalFlags().VisitAll(add)
	flags = slices.DeleteFunc(flags, func(f string) bool { return f == "h" || f == "-help" })
	slices.Sort(flags)
	return flags
}

// The manuals have every command and every flag, and no others.
func TestManuals(t *testing.T) {
	page := readManual(t, "tirl.8")
	_, commands, ok := strings.Cut(page, "\n.Sh COMMANDS\n")
	if !ok {
		t.Fatal("tirl.8 has no COMMANDS")
	}
	commands, _, _ = strings.Cut(commands, "\n.Sh ")
	parts := map[string]string{}
	for _, part := range strings.Split("\n"+commands, "\n.Ss ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		parts[name] = "\n" + text
	}
	root := (&app{env: map[string]string{}}).root()
	head, _, _ := strings.Cut(page, "\n.Sh COMMANDS\n")
	if diff := cmp.Diff([]string{"-color", "-config", "-json", "-root", "c"}, flagsIn(head, []string{"h", "-help"})); diff != "" {
		t.Errorf("flags of all commands, and those of the manual:\n%s", diff)
	}
	walk(root, func(cmd *cobra.Command) {
		name := strings.TrimPrefix(cmd.CommandPath(), "tirl ")
		text, ok := parts[name]
		if !ok {
			t.Errorf("tirl.8 does not have %s", name)
			return
		}
		delete(parts, name)
		// A page of its own.
		if own := regexp.MustCompile(`\.Xr (tirl-` + cmd.Name() + `) 1 `).FindStringSubmatch(text); own != nil {
			text = readManual(t, own[1]+".1")
		}
		if diff := cmp.Diff(flagsOf(cmd), flagsIn(text, nil)); diff != "" {
			t.Errorf("flags of %s, -, and of its manual, +:\n%s", name, diff)
		}
	})
	delete(parts, "help") // it comes with cobra when a command runs
	for name := range parts {
		t.Errorf("tirl.8 has %q, which is no command", name)
	}
}

func TestManualExitStatus(t *testing.T) {
	_, text, _ := strings.Cut(readManual(t, "tirl.8"), "\n.Sh EXIT STATUS\n")
	text, _, _ = strings.Cut(text, "\n.Sh ")
	var got []int
	for _, m := range regexp.MustCompile(`(?m)^\.It (\d+)$`).FindAllStringSubmatch(text, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	want := []int{exitOK, exitFailed, exitUsage, exitInactive, exitInvalid, exitFindings, exitRolledBack, exitUnsupported}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Other variables may be in the program's environment; these it reads.
func TestManualEnvironment(t *testing.T) {
	text := readManual(t, "tirl.8") + readManual(t, "tirl-knock.1") + readManual(t, "tirl-connect.1")
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range sources {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`getenv\("(\w+)"\)`).FindAllStringSubmatch(string(source), -1) {
			switch name := m[1]; name {
			case "HOME", "AppData", "TERM", "LANG", "LC_ALL", "LC_CTYPE": // they mean what they mean to every program
			default:
				if !regexp.MustCompile(`\.It Ev .*\b` + name + `\b`).MatchString(text) {
					t.Errorf("%s reads %s, which no manual has", file, name)
				}
			}
		}
	}
}

func TestManualsLint(t *testing.T) {
	if _, err := exec.LookPath("mandoc"); err != nil {
		t.Skip("mandoc is not installed")
	}
	pages, err := filepath.Glob(manuals + "/*.[1-9]")
	if err != nil || len(pages) < 4 {
		t.Fatalf("%q, %v", pages, err)
	}
	cmd := exec.Command("mandoc", "-Tlint")
	cmd.Dir = manuals // it looks there for the pages that they refer to
	for _, page := range pages {
		cmd.Args = append(cmd.Args, filepath.Base(page))
	}
	out, err := cmd.CombinedOutput()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		// What other manuals this machine has is no matter.
		if !strings.HasPrefix(line, "mandoc: outdated mandoc.db lacks ") {
			t.Error(strings.TrimSpace(line))
		}
	}
}
