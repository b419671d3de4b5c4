package verify

import (
	"slices"

	"tirl/internal/automaton"
)

// granted looks for a grant of class i or a later one.
func (j *judging) granted(v verdictOf, i int) {
	for ; i < len(j.classes); i++ {
		if j.g.Classes[i].Once {
			continue
		}
		yes, no := v.b.splitPorts(j.classes[i])
		if yes == nil {
			continue
		}
		if no != nil {
			w := v
			w.b = *no
			j.granted(w, i+1)
		}
		v.b = *yes
		known, ok := j.exact[i]
		if !ok {
			known, ok = v.chosen(i)
		}
		if ok && known {
			j.let(v, automaton.Granted)
			return
		}
		if !ok {
			w := v
			w.g = append(slices.Clip(v.g), held{i, true})
			j.let(w, automaton.Granted)
			v.g = append(slices.Clip(v.g), held{i, false})
		}
	}
	j.refuse(v, true)
}

func (v *verdictOf) chosen(class int) (yes, ok bool) {
	for _, h := range v.g {
		if h.class == class {
			return h.yes, true
		}
	}
	return false, false
}

// refuse finds out what the packet gets if nothing lets it in.
func (j *judging) refuse(v verdictOf, service bool) {
	if !j.g.Firewall && !service {
		v.verdict = automaton.Accept
		j.step(v)
		return
	}
	v.verdict = automaton.Dropped
	if !j.g.Reset {
		j.step(v)
		return
	}
	yes, no := v.b.splitPorts(j.answered)
	parts(v, yes, no, func(v verdictOf) {
		v.verdict = automaton.Rejected
		j.step(v)
	}, j.step)
}

// step cuts by where the packet leads.
func (j *judging) step(v verdictOf) {
	at := j.places[j.place]
	if at.Door >= 0 {
		class := j.g.Doors[at.Door].Class
		yes, no := v.b.splitPorts(j.classes[class])
		if yes != nil {
			w := v
			w.b = *yes
			j.pay(w, automaton.LetIn, func(v verdictOf) {
				v.verdict, v.moves, v.place = automaton.Accept, true, automaton.Root
				j.emit(v)
			})
		}
		if no == nil {
			return
		}
		v.b = *no
	}
	if j.place != automaton.Root {
		for _, c := range j.children[j.place] {
			if !j.takeAtom(&v, j.knock(c), func(v verdictOf) { j.arrive(v, c, automaton.Knocked) }) {
				return
			}
		}
		if !j.finish(&v) {
			return
		}
		if !j.take(&v, j.repeats(), func(v verdictOf) {
			j.pay(v, automaton.Repeated, func(v verdictOf) {
				v.moves, v.place = true, j.place
				j.emit(v)
			})
		}) {
			return
		}
	}
	how := automaton.Restarted
	if j.place == automaton.Root {
		how = automaton.Knocked
	}
	for _, c := range j.firstEnds {
		if !j.takeAtom(&v, j.knock(c), func(v verdictOf) { j.arrive(v, c, how) }) {
			return
		}
	}
	if !j.take(&v, j.first.dom, func(v verdictOf) {
		j.pay(v, how, func(v verdictOf) {
			v.moves, v.first = true, true
			j.emit(v)
		})
	}) {
		return
	}
	why := automaton.Lost
	if j.place == automaton.Root {
		why = automaton.Nothing
	}
	j.pay(v, why, func(v verdictOf) {
		v.moves, v.place = true, automaton.Root
		j.emit(v)
	})
}

// take goes on with the packets to some ports, and leaves the others. False: there
// are no others.
func (j *judging) take(v *verdictOf, ports bitset, then func(verdictOf)) bool {
	yes, no := v.b.splitPorts(ports)
	if yes != nil {
		w := *v
		w.b = *yes
		then(w)
	}
	if no == nil {
		return false
	}
	v.b = *no
	return true
}

func (j *judging) takeAtom(v *verdictOf, atom int, then func(verdictOf)) bool {
	if !v.b.ports.has(atom) {
		return true
	}
	return j.take(v, j.single(atom), then)
}

// repeats are the knocks that stay at the place.
func (j *judging) repeats() bitset {
	if known := j.staying[j.place]; known != nil {
		return known
	}
	atoms := newBitset(len(j.sp.atoms))
	if !j.detached(j.place) && (j.g.Stay && !j.own[j.place] || j.places[j.place].Depth <= 1) {
		for at := j.place; at != automaton.Root; at = j.places[at].Parent {
			atoms.add(j.knock(at))
		}
	}
	j.staying[j.place] = atoms
	return atoms
}

// arrive comes to a place, which may be the end of a door.
func (j *judging) arrive(v verdictOf, at automaton.State, how automaton.Reason) {
	door := j.places[at].Door
	if door < 0 {
		j.pay(v, how, func(v verdictOf) {
			v.moves, v.place = true, at
			j.emit(v)
		})
		return
	}
	j.open(v, at, door, how, spendsNothing)
}

// detached says whether a place is the end of a door that only users open.
func (s *meaning) detached(at automaton.State) bool {
	return int(at) < len(s.g.Places) && s.g.Detached(at)
}

// open comes to the end of a door.
func (j *judging) open(v verdictOf, at automaton.State, door int, how automaton.Reason, uses spends) {
	yes, no := v.b.splitSources(j.admits[door])
	parts(v, yes, no, func(v verdictOf) {
		class := j.g.Doors[door].Class
		if j.g.Classes[class].Once {
			j.pay(v, how, func(v verdictOf) {
				v.moves, v.place, v.spends = true, at, uses
				j.emit(v)
			})
			return
		}
		j.pay(v, automaton.Opened, func(v verdictOf) {
			v.moves, v.place, v.grant, v.spends = true, automaton.Root, class, uses
			j.emit(v)
		})
	}, func(v verdictOf) {
		j.pay(v, automaton.Excluded, func(v verdictOf) {
			v.moves, v.place, v.spends = true, automaton.Root, uses
			j.emit(v)
		})
	})
}

// pay asks the bucket, if there is one or the packet makes one.
func (j *judging) pay(v verdictOf, why automaton.Reason, heard func(verdictOf)) {
	v.reason = why
	if !j.limited {
		heard(v)
		return
	}
	if !j.bucket {
		v.paid = why != automaton.Repeated && why != automaton.Nothing
		heard(v)
		return
	}
	v.paid = true
	if v.limit != isEmpty {
		w := v
		w.limit = notEmpty
		heard(w)
	}
	if v.limit != notEmpty {
		w := v
		w.limit, w.reason = isEmpty, automaton.Limited
		j.emit(w)
	}
}
