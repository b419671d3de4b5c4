package apply

import (
	"fmt"
	"strings"

	"tirl/internal/automaton"
	"tirl/internal/backend"
	"tirl/internal/tool"
)

// Kind is a backend that can be chosen.
type Kind struct {
	Name string
	New  func(tool.Runner) backend.Backend
}

// Lack says why a backend cannot carry a policy.
type Lack struct {
	Backend  string
	Problems []backend.Problem // what it cannot do of the policy anywhere
	Err      error             // what failed on this host
}

func (l Lack) String() string {
	if l.Err != nil {
		return fmt.Sprintf("%s: %v", l.Backend, l.Err)
	}
	texts := make([]string, len(l.Problems))
	for i, p := range l.Problems {
		texts[i] = p.Key + ": " + p.Text
	}
	return l.Backend + ": " + strings.Join(texts, "; ")
}

// Fit sorts out the kinds that cannot do what a policy asks, wherever they run.
func Fit(kinds []Kind, g *automaton.Program) (able []Kind, lacks []Lack) {
	for _, k := range kinds {
		var hard []backend.Problem
		for _, p := range k.New(nil).Check(g) {
			if !p.Warning {
				hard = append(hard, p)
			}
		}
		if len(hard) > 0 {
			lacks = append(lacks, Lack{Backend: k.Name, Problems: hard})
			continue
		}
		able = append(able, k)
	}
	return able, lacks
}
