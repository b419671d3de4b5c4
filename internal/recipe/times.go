package recipe

import (
	"slices"
	"time"

	"tirl/internal/port"
)

// door tries a sequence in all that a door of a policy says.
func (t *trial) door(v *view, w word) Door {
	var d Door
	for _, a := range w.atoms {
		d.Knocks = append(d.Knocks, probe(t.ports[a]))
		d.Ranges = append(d.Ranges, t.ports[a])
	}
	for _, a := range w.opens {
		d.Opens = merge(append(d.Opens, t.ports[a]))
	}
	whole := append(slices.Clone(d.Knocks), service(d))
	for n := range d.Knocks {
		_, _, j := t.run(v, whole[:n+1], -1, 0)
		d.Lines = append(d.Lines, j.Line)
	}
	_, _, j := t.run(v, whole, -1, 0)
	d.Line = j.Line
	d.Once = !t.opens(v, append(slices.Clone(whole), service(d))...)
	for n := 1; n < len(whole); n++ {
		length := t.lasts(func(wait time.Duration) bool {
			_, _, j := t.run(v, whole, n, wait)
			return lets(j)
		})
		if n == len(d.Knocks) {
			d.OpenFor = length
		} else {
			d.Steps = append(d.Steps, length)
		}
	}
	d.Slides = d.OpenFor > 0 && !d.Once && t.slides(v, whole, d.OpenFor)
	d.Stays, d.Wrong = t.mistakes(v, d, whole)
	d.Guards = t.guards(v, d)
	d.Counts = slices.ContainsFunc(t.hits, func(n int) bool { return n > 1 }) && len(slices.Compact(slices.Clone(d.Knocks))) < len(d.Knocks)
	return d
}

// near is how exactly a time is known: more than a whole sequence takes here.
const near = 100 * time.Millisecond

// lasts finds the longest of the times that rules name for which something goes on.
func (t *trial) lasts(works func(wait time.Duration) bool) time.Duration {
	const long = 60 * 24 * time.Hour
	if works(long) {
		return Forever
	}
	for _, d := range slices.Backward(t.times) {
		if d > near && works(d-near) {
			return d
		}
	}
	return 0
}

// slides says whether a connection opens the door for as long again.
func (t *trial) slides(v *view, whole []port.Port, openFor time.Duration) bool {
	sim, now, _ := t.run(v, whole[:len(whole)-1], -1, 0)
	last := whole[len(whole)-1]
	t.send(sim, v.packet(last, now+openFor*6/10))
	return lets(t.send(sim, v.packet(last, now+openFor*12/10)))
}

// mistakes tries a knock that comes twice, and a packet that is no knock.
func (t *trial) mistakes(v *view, d Door, whole []port.Port) (stays, wrong bool) {
	stays = true
	if n := len(d.Knocks); n > 2 || n == 2 && d.Once {
		stays = t.opens(v, slices.Concat(whole[:2], whole[1:2], whole[2:])...)
	}
	for _, atom := range t.ports {
		p := probe(atom)
		if p.Proto == d.Knocks[0].Proto && !t.named[p.Number] && len(d.Knocks) > 1 {
			wrong = wrong || !t.opens(v, slices.Concat(whole[:1], []port.Port{p}, whole[1:])...)
		}
	}
	return stays, wrong
}

// guards are the ports that put a source back from the end, if only some do.
func (t *trial) guards(v *view, d Door) []port.Range {
	var out []port.Range
	for _, atom := range t.ports {
		isKnock := slices.ContainsFunc(d.Knocks, atom.Contains)
		if isKnock || slices.ContainsFunc(d.Opens, func(r port.Range) bool { return r.Contains(probe(atom)) }) {
			continue
		}
		if t.opens(v, slices.Concat(d.Knocks, []port.Port{probe(atom), service(d)})...) {
			continue
		}
		if !t.named[atom.First] {
			return nil // every other port does
		}
		out = merge(append(out, atom))
	}
	return out
}
