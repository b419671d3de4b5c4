package vector

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/policy"
	"tirl/internal/port"
	"tirl/internal/sample"
	"tirl/internal/trace"
)

// steps reads lines "PACKET => VERDICT, PLACE[, open DOOR...]".
func (v *Vector) steps(file, text string) ([]Step, error) {
	packets, wants := halves(text)
	packets, err := sample.Spell(v.Program, packets)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	t, err := trace.Parse(file, packets)
	if err != nil {
		return nil, err
	}
	var steps []Step
	for _, s := range t.Steps {
		step := Step{Line: s.Line, Text: s.String(), Packets: slices.Collect(s.Packets())}
		want, ok := wants[s.Line]
		if !ok {
			return nil, fmt.Errorf("%s:%d: expected => and what becomes of the packet", file, s.Line)
		}
		delete(wants, s.Line)
		if err := v.expect(&step, want); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, s.Line, err)
		}
		steps = append(steps, step)
	}
	for line := range wants {
		return nil, fmt.Errorf("%s:%d: there is no packet that this could become of", file, line)
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("%s: the trace has no packet", file)
	}
	return steps, nil
}

// halves takes the expectations out of a trace, by line.
func halves(text string) (packets string, wants map[int]string) {
	wants = make(map[int]string)
	var b strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "#")
		packet, want, ok := strings.Cut(line, "=>")
		if ok {
			wants[n] = strings.TrimSpace(want)
		}
		b.WriteString(packet + "\n")
	}
	return b.String(), wants
}

func (v *Vector) expect(s *Step, want string) error {
	parts := strings.Split(want, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	if len(parts) < 2 {
		return fmt.Errorf("expected a verdict and a place, not %q", want)
	}
	switch parts[0] {
	case "accept":
		s.Verdict = automaton.Accept
	case "drop":
		s.Verdict = automaton.Dropped
	case "reset":
		s.Verdict = automaton.Rejected
	default:
		return fmt.Errorf("expected accept, drop or reset, not %q", parts[0])
	}
	var err error
	if s.Place, err = v.place(parts[1]); err != nil {
		return err
	}
	spending := false
	for i, part := range parts[2:] {
		name, spends := strings.CutPrefix(part, "spent ")
		if spending = spending || spends; spending {
			value, err := v.value(name)
			if err != nil {
				return err
			}
			s.Spent = append(s.Spent, value)
			continue
		}
		if i == 0 {
			var ok bool
			if name, ok = strings.CutPrefix(part, "open "); !ok {
				return fmt.Errorf("expected open DOOR, not %q", part)
			}
		}
		door, err := v.door(strings.TrimSpace(name))
		if err != nil {
			return err
		}
		if v.Program.Classes[door.Class].Once {
			return fmt.Errorf("door %s is never open: it opens once", door.Name)
		}
		if slices.Contains(s.Open, door.Class) {
			return fmt.Errorf("door %s stands for what another door says: name one of them", door.Name)
		}
		s.Open = append(s.Open, door.Class)
	}
	slices.Sort(s.Open)
	slices.Sort(s.Spent)
	return nil
}

// place reads "start", "DOOR N", "DOOR end" of a door without knocks, "USER 1" or
// "USER:NUMBER N".
func (v *Vector) place(text string) ([]port.Port, error) {
	if text == "start" {
		return nil, nil
	}
	name, depth, _ := strings.Cut(text, " ")
	if strings.Contains(name, "/") {
		return v.userPlace(name, depth)
	}
	door, err := v.door(name)
	if err != nil {
		return nil, err
	}
	if len(door.Knocks) == 0 && depth == "end" && v.Program.Classes[door.Class].Once {
		return v.Program.Way(door.End), nil
	}
	n, err := strconv.Atoi(depth)
	if err != nil || n < 1 || n > len(door.Knocks) {
		return nil, fmt.Errorf("expected start, or a door and how many of its %d knocks are done, not %q", len(door.Knocks), text)
	}
	if n == len(door.Knocks) && !v.Program.Classes[door.Class].Once {
		return nil, fmt.Errorf("nobody stands at the end of %s, which opens for a time", name)
	}
	return door.Knocks[:n], nil
}

// userPlace reads "DOOR/USER 1", which all of a user's values share, or
// "DOOR/USER:NUMBER N".
func (v *Vector) userPlace(name, depth string) ([]port.Port, error) {
	if user, err := sample.User(v.Program, name); err == nil && depth == "1" && v.Program.Users[user].Kind == policy.Sequence {
		return []port.Port{v.Program.Users[user].First}, nil
	}
	i, err := v.value(name)
	if err != nil {
		return nil, err
	}
	knocks := v.Values[i].Knocks
	n, err := strconv.Atoi(depth)
	if err != nil || n < 2 || n >= len(knocks) {
		return nil, fmt.Errorf("expected how many of the %d knocks of %s are done, not %q", len(knocks), name, depth)
	}
	return knocks[:n], nil
}

// value finds DOOR/USER:NUMBER among the live values.
func (v *Vector) value(name string) (int, error) {
	for i := range v.Values {
		if v.valueName(i) == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("there is no live value %q, such as ssh/alice:0", name)
}

func (v *Vector) door(name string) (automaton.Door, error) {
	for _, d := range v.Program.Doors {
		if d.Name == name {
			return d, nil
		}
	}
	return automaton.Door{}, fmt.Errorf("there is no door %q", name)
}
