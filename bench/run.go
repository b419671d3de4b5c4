package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Options are the choices for a run.
type Options struct {
	Only   []string       // names of sections; empty: all
	Factor float64        // of the usual time
	Match  *regexp.Regexp // see Env
	Log    func(format string, args ...any)
}

// Run runs sections and puts their results in the place of older ones. A section
// that fails is in the report as failed, and is an error.
func (r *Report) Run(ctx context.Context, all []Section, o Options) error {
	for _, name := range o.Only {
		if !slices.ContainsFunc(all, func(s Section) bool { return s.Name == name }) {
			return fmt.Errorf("no section %q", name)
		}
	}
	var measured []MeasuredSection
	var failed error
	for _, s := range all {
		i := slices.IndexFunc(r.Sections, func(m MeasuredSection) bool { return m.Name == s.Name })
		switch {
		case len(o.Only) == 0 || slices.Contains(o.Only, s.Name):
			m := s.measure(ctx, o)
			if m.Failed != "" && failed == nil {
				failed = fmt.Errorf("section %s: %s", s.Name, m.Failed)
			}
			if err := context.Cause(ctx); err != nil {
				return err
			}
			measured = append(measured, m)
		case i >= 0:
			measured = append(measured, r.Sections[i])
		}
	}
	r.Sections = measured
	r.Date = time.Now().UTC().Truncate(time.Second)
	return failed
}

func (s Section) measure(ctx context.Context, o Options) MeasuredSection {
	budget := time.Duration(float64(s.Time) * o.Factor)
	o.Log("%s: %v", s.Name, budget.Round(time.Second))
	start := time.Now()
	result, err := s.run(ctx, &Env{Budget: budget, Match: o.Match, Log: o.Log})
	m := MeasuredSection{Name: s.Name, Title: s.Title, Date: start.UTC().Truncate(time.Second), Took: time.Since(start).Round(time.Second), Result: result}
	if err != nil {
		m.Failed, m.Result = err.Error(), nil
	}
	o.Log("%s: took %v", s.Name, m.Took)
	return m
}

// run gives a result that can be written: a NaN cannot.
func (s Section) run(ctx context.Context, env *Env) (*Result, error) {
	result, err := s.Run(ctx, env)
	if err == nil {
		_, err = json.Marshal(result)
	}
	return result, err
}
