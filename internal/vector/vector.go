// Package vector reads test vectors: a policy and a trace of packets, with what
// must become of each packet and where its source must stand after it. Their
// format is described in spec/README.md.
package vector

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/sample"
)

// Vector is one file.
type Vector struct {
	Name     string // of the file, without its ending
	Comment  string // what it shows and why it must be so
	Source   string // the policy's text
	Policy   *policy.Policy
	Program  *automaton.Program
	Values   []automaton.Value // of its users: live when the trace begins
	Steps    []Step
	Backends []string // those that can carry the policy; nil: all
	Kernel   bool     // the packets can be made in the laboratory
}

// Step is one line of the trace. After a sweep the place and the grants are
// those after its last packet; the verdict is that of each.
type Step struct {
	Line    int
	Text    string
	Packets []automaton.Packet
	Verdict automaton.Verdict
	Place   []port.Port // the knocks that the source has done; nil: at the start
	Open    []int       // the timed classes that the source holds, ascending
	Spent   []int       // the values that the packets spend, as indexes into Vector.Values
}

// Load reads every vector of a directory, in the order of their names.
func Load(dir string) ([]Vector, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("load vectors: there are none in %s", dir)
	}
	var all []Vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("load vectors: %w", err)
		}
		v, err := Parse(file, text)
		if err != nil {
			return nil, err
		}
		all = append(all, *v)
	}
	return all, nil
}

// Parse reads one vector. Errors have the line within the file.
func Parse(file string, text []byte) (*Vector, error) {
	v := &Vector{Name: strings.TrimSuffix(filepath.Base(file), ".txtar"), Kernel: true}
	archive := txtar.Parse(text)
	if err := v.header(string(archive.Comment)); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(archive.Files) != 2 || archive.Files[0].Name != "policy.toml" || archive.Files[1].Name != "trace" {
		return nil, fmt.Errorf("%s: expected the files policy.toml and trace, in this order", file)
	}
	v.Source = string(archive.Files[0].Data)
	first := strings.Count(string(archive.Comment), "\n") + 1 // lines before the policy
	p, found := policy.Parse(fmt.Sprintf("%s: policy after line %d", file, first), []byte(v.Source))
	if found.HasErrors() {
		return nil, fmt.Errorf("%v", found)
	}
	v.Policy = p
	var err error
	if v.Program, err = automaton.Compile(p); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	v.Values = sample.Values(v.Program, sample.Live)
	first += strings.Count(v.Source, "\n") + 1
	if v.Steps, err = v.steps(file, strings.Repeat("\n", first)+string(archive.Files[1].Data)); err != nil {
		return nil, err
	}
	return v, nil
}

// header reads the comment: lines "key: value", then prose.
func (v *Vector) header(text string) error {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		switch {
		case ok && key == "backends":
			v.Backends = strings.Fields(value)
			for _, b := range v.Backends {
				if b != policy.BackendNftables && b != policy.BackendIptables {
					return fmt.Errorf("there is no backend %q", b)
				}
			}
		case ok && key == "kernel" && value == "no":
			v.Kernel = false
		default:
			v.Comment = strings.TrimSpace(text)
			if v.Comment == "" {
				return fmt.Errorf("expected a comment that says what the vector shows")
			}
			return nil
		}
		text = text[len(line):]
	}
	return fmt.Errorf("expected a comment that says what the vector shows")
}

// On says whether a backend can carry the policy.
func (v *Vector) On(backend string) bool {
	return v.Backends == nil || slices.Contains(v.Backends, backend)
}

// Describe writes a place and grants as a vector does.
func (v *Vector) Describe(place []port.Port, open []int) string {
	text := v.describePlace(place)
	for i, class := range open {
		text += ", "
		if i == 0 {
			text += "open "
		}
		text += v.className(class)
	}
	return text
}

func (v *Vector) describePlace(place []port.Port) string {
	if len(place) == 0 {
		return "start"
	}
	for _, d := range v.Program.Doors {
		if len(d.Knocks) >= len(place) && slices.Equal(d.Knocks[:len(place)], place) {
			return fmt.Sprintf("%s %d", d.Name, len(place))
		}
		if slices.Equal(v.Program.Way(d.End), place) {
			return d.Name + " end"
		}
	}
	if user := v.Program.Beginner(place); user >= 0 && len(place) == 1 {
		return sample.Name(v.Program, user) + " 1"
	}
	for i, value := range v.Values {
		if len(value.Knocks) > len(place) && slices.Equal(value.Knocks[:len(place)], place) {
			return fmt.Sprintf("%s %d", v.valueName(i), len(place))
		}
	}
	return fmt.Sprintf("%v", place) // no door and no user begins like this
}

// describeSpent writes the values that a step spends.
func (v *Vector) describeSpent(spent []int) string {
	text := ""
	for i, value := range spent {
		text += ", "
		if i == 0 {
			text += "spent "
		}
		text += v.valueName(value)
	}
	return text
}

func (v *Vector) valueName(i int) string {
	return fmt.Sprintf("%s:%d", sample.Name(v.Program, v.Values[i].User), v.Values[i].Number)
}

// live says of each value whether it is live.
func (v *Vector) live(in *automaton.Interpreter) []bool {
	live := make([]bool, len(v.Values))
	for i, value := range v.Values {
		live[i] = slices.Contains(in.Live(value.User), value.Number)
	}
	return live
}

// interpreter is the reference with all values loaded.
func (v *Vector) interpreter() *automaton.Interpreter {
	in := automaton.NewInterpreter(v.Program)
	for _, value := range v.Values {
		in.Load(value)
	}
	return in
}

// spent lists the values that were live before, and are not.
func (v *Vector) spent(before []bool, in *automaton.Interpreter) []int {
	var spent []int
	for i, live := range v.live(in) {
		if before[i] && !live {
			spent = append(spent, i)
		}
	}
	return spent
}

// className is that of the first door of a class.
func (v *Vector) className(class int) string {
	for _, d := range v.Program.Doors {
		if d.Class == class {
			return d.Name
		}
	}
	return fmt.Sprint(class)
}
