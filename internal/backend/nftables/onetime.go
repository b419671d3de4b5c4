package nftables

import (
	"fmt"
	"slices"

	"tirl/internal/automaton"
	"tirl/internal/policy"
)

// One-time knocks are data like the doors: a value that is live is an element, and
// the packet that uses it deletes the element. The sets that hold values, the pool,
// mean the same under every policy and stay in the kernel when the policy changes.
//
// A place on the path of a one-time sequence is a number of its own (see
// automaton), so that the steps of all values share a map, and a source's place is
// the value of the same maps as with other knocks.
//
// What packets delete from is a set and not a map, so that it can have a
// gc-interval (nft 1.0.6 takes none for maps): the collector walks all elements
// each time, to free those that were deleted (nft_rhash_gc,
// net/netfilter/nft_set_hash.c), and once a second is much for a million. The maps
// beside the sets, which only say whose a value is, no packet changes.

// Names of the sets of the pool.
const (
	markerSet   = "pool"   // a number that tells this pool from those before
	tokenSet    = "token"  // live tokens
	holderMap   = "holder" // token -> user
	pathMap     = "path"   // the steps of sequences, but for the last
	lastSet     = "last"   // the last steps of live sequences
	endsMap     = "ends"   // the last place of a sequence -> user
	spentTokens = "spent_token"
	spentPaths  = "spent_path"

	// These lead from a user to the end of the door. They are the policy's. Whoever
	// stands at an end that takes one knock is where knock 1 leads.
	userMap  = "user"
	shortMap = "user_short"
)

const (
	tokenKey = "@th,64,128" // the 16 bytes behind a UDP header
	// tokenLength is the length that a UDP header has to say: itself and the token.
	tokenLength = 8 + 16

	// poolSize is how many values may be live; spentSize, how many may be spent
	// between two refills, behind which nothing opens.
	poolSize  = 1 << 22
	spentSize = 1 << 16
)

// usedSet names the set that says from where values were used.
func usedSet(kind string, f family) string { return "used_" + kind + f.digit }

// poolSets lists the pool. Both kinds are there if there are users at all: a kind
// that went and came back would have lost its values, and the marker would not say so.
func poolSets(fams [2]family) []set {
	live := fmt.Sprintf("size %d; flags dynamic,timeout; gc-interval 60s;", poolSize)
	spent := fmt.Sprintf("size %d; flags dynamic;", spentSize)
	list := []set{
		{name: markerSet, typeof: placeKey},
		{name: tokenSet, typeof: tokenKey, attrs: live},
		{name: holderMap, isMap: true, typeof: tokenKey + " : meta priority"},
		{name: pathMap, isMap: true, typeof: placeKey + " . " + portPart + " : meta priority"},
		{name: lastSet, typeof: placeKey + " . " + portPart, attrs: live},
		{name: endsMap, isMap: true, typeof: placeKey + " : meta priority"},
		{name: spentTokens, typeof: tokenKey, attrs: spent},
		{name: spentPaths, typeof: placeKey, attrs: spent},
	}
	for _, f := range fams {
		own := fromAddr(f)
		list = append(list,
			set{name: usedSet("token", f), typeof: own + " . " + tokenKey, attrs: spent},
			set{name: usedSet("path", f), typeof: own + " . " + placeKey, attrs: spent})
	}
	for i := range list {
		list[i].keeps = true
	}
	return list
}

// inPool says whether a set is of the pool.
func inPool(name string) bool {
	switch name {
	case markerSet, tokenSet, holderMap, pathMap, lastSet, endsMap, spentTokens, spentPaths,
		"used_token4", "used_token6", "used_path4", "used_path6":
		return true
	}
	return false
}

// userSets are what the rules of one-time knocks use.
func userSets(g *automaton.Program, fams [2]family) []set {
	if len(g.Users) == 0 {
		return nil
	}
	user := set{name: userMap, isMap: true, typeof: placeKey + " : meta priority"}
	short := set{name: shortMap, isMap: true, typeof: user.typeof}
	for _, u := range g.Users {
		into := &user
		if end := g.Doors[u.Door].End; endsShort(g, end) {
			into = &short
		}
		into.add("%s : %s", handle(u.ID), handle(uint32(g.Doors[u.Door].End)))
	}
	return append(append(poolSets(fams), user), used([]set{short})...)
}

// endsShort says whether knock 1 leads to an end of a door where sources stand.
func endsShort(g *automaton.Program, end automaton.State) bool {
	return g.Places[end].Depth == 1 && !g.Detached(end) && g.Standing(end)
}

// firstKnocks adds the knocks by which one-time sequences begin. Each leads to the
// place that is the user's own, and repeated there it stays.
func firstKnocks(g *automaton.Program, first, stays *set) {
	for _, u := range g.Users {
		if u.Kind == policy.Sequence {
			first.add("%s : %s", portKey(u.First), handle(u.ID))
			stays.add("%s . %s", handle(u.ID), portKey(u.First))
		}
	}
}

// hasUsers says whether some user knocks in this way.
func hasUsers(g *automaton.Program, kind policy.OneTime) bool {
	return slices.ContainsFunc(g.Users, func(u automaton.User) bool { return u.Kind == kind })
}

func hasTokens(g *automaton.Program) bool    { return hasUsers(g, policy.Token) }
func hasSequences(g *automaton.Program) bool { return hasUsers(g, policy.Sequence) }

// oneTimeChains names the chains that other rules refer to.
func oneTimeChains(g *automaton.Program, fams [2]family) []string {
	var names []string
	if hasTokens(g) {
		names = append(names, "token", "spend", "use", "judged")
	}
	for _, f := range fams {
		if hasTokens(g) {
			names = append(names, "redeem"+f.digit)
		}
		if hasSequences(g) {
			names = append(names, "finish"+f.digit, "spend"+f.digit, "use"+f.digit)
		}
	}
	return names
}

// tokens looks for one in every datagram that could hold one, whoever sends it: it
// has been on the wire, and must be worth nothing from then on.
func (w *writer) tokens(g *automaton.Program) {
	if hasTokens(g) {
		w.rule("a one-time token", "meta l4proto udp udp length %d ct state != invalid fib daddr type local %s @%s goto token", tokenLength, tokenKey, tokenSet)
	}
}

// oneTime writes what becomes of a value that is used.
func (w *writer) oneTime(g *automaton.Program, fams [2]family) {
	if hasTokens(g) {
		w.chain("token", w.token)
		w.chain("spend", func() { w.spend(tokenKey, spentTokens, "use") })
		w.chain("use", func() { w.use(fams) })
		w.chain("judged", func() { w.judged(g) })
	}
	for _, f := range fams {
		if hasTokens(g) {
			w.chain("redeem"+f.digit, func() { w.redeem(g, f) })
		}
		if hasSequences(g) {
			w.chain("finish"+f.digit, func() { w.finish(f) })
			w.chain("spend"+f.digit, func() { w.spend(placeKey, spentPaths, "use"+f.digit) })
			w.chain("use"+f.digit, func() { w.useLast(g, f) })
		}
	}
}

// spend lets one packet on to a chain, whatever other CPUs do with the same value: of
// the packets that all find it live, the first makes an element whose limit has room
// for it alone. Under its lock (nft_limit_eval, net/netfilter/nft_limit.c) that is a
// test and set. What cannot make the element, for lack of room or while the hash table
// grows, goes no further.
func (w *writer) spend(key, spent, chain string) {
	w.rule("it is spent", "%s @%s return", key, spent)
	w.rule("the first packet with it", "update @%s { %s limit rate 1/hour burst 1 packets } goto %s", spent, key, chain)
}

func (w *writer) token() {
	w.rule("it is worth nothing from here on", "jump spend")
	w.rule("the datagram is judged as any other", "goto judged")
}

// use takes a token out, and its sender to the end of the door.
func (w *writer) use(fams [2]family) {
	w.rule("used once", "delete @%s { %s }", tokenSet, tokenKey)
	for _, f := range fams {
		w.rule("who it was", "update @%s { %s . %s }", usedSet("token", f), fromAddr(f), tokenKey)
	}
	w.rule("while blocked it opens nothing", "meta nfproto @%s return", blockedSet)
	for _, f := range fams {
		w.rule("each family has its own sources", "meta nfproto %s goto redeem%s", f.nfproto, f.digit)
	}
}

// judged gives a datagram that held a token the verdict that it has from a source
// that is nowhere.
func (w *writer) judged(g *automaton.Program) {
	w.rule("leave no trace of a user", "meta priority set none")
	w.welcome(g)
	w.rule("public and hidden services", portPart+" vmap @%s", judgedPorts(g).name)
	if g.Firewall {
		w.refuse(g)
		w.rule("what nothing accepts is dropped", "drop")
	} else {
		w.rule("no business of doors", "accept")
	}
}

// judgedPorts is what judged says of a packet by its port.
func judgedPorts(g *automaton.Program) set {
	s := portVerdicts(g, "judged_ports")
	s.verdicts(g.Public, "accept")
	s.verdicts(g.Hidden(), "goto shut")
	return s
}

// redeem takes a source to the end of the door, wherever it stood.
func (w *writer) redeem(g *automaton.Program, f family) {
	w.rule("whose it is", "meta priority set %s map @%s", tokenKey, holderMap)
	w.leave(f)
	if hasOnce(g) {
		w.rule("the next connection is one of its own", "delete @%s { %s }", f.spent, f.place)
	}
	w.arrive(g, f)
}

// arrive takes a source to the end of the door of the user in the register.
func (w *writer) arrive(g *automaton.Program, f family) {
	if slices.ContainsFunc(g.Users, func(u automaton.User) bool { return endsShort(g, g.Doors[u.Door].End) }) {
		w.rule("the end of the user's door", "meta priority set meta priority map @%s goto start%s", shortMap, f.digit)
	}
	w.rule("the end of the user's door", "meta priority set meta priority map @%s goto advance%s", userMap, f.digit)
}

// finish is the last step of a sequence; the register has the place before it, which
// the source has left.
func (w *writer) finish(f family) {
	w.rule("it is worth nothing from here on", "jump spend%s", f.digit)
	w.rule("leave no trace of a place", "meta priority set none")
}

// useLast takes a sequence out, and its sender to the end of the door.
func (w *writer) useLast(g *automaton.Program, f family) {
	w.rule("used once", "delete @%s { %s . %s }", lastSet, placeKey, portPart)
	w.rule("who it was", "update @%s { %s . %s }", usedSet("path", f), fromAddr(f), placeKey)
	w.rule("whose it is", "meta priority set meta priority map @%s", endsMap)
	w.arrive(g, f)
}

// paths are the steps of one-time sequences.
func (w *writer) paths(g *automaton.Program, f family) {
	if hasSequences(g) {
		w.rule("the last knock of a one-time sequence", placeKey+" . "+portPart+" @%s goto finish%s", lastSet, f.digit)
		w.rule("a knock of a one-time sequence", "meta priority set "+placeKey+" . "+portPart+" map @%s goto advance%s", pathMap, f.digit)
	}
}

// leadsUser says whether a place of a one-time sequence may lead to a door. Whose a
// path is, only the pool knows, which is not listed for that: such a place may lead
// to any door that has sequences.
func leadsUser(g *automaton.Program, place uint32, door int) bool {
	return slices.ContainsFunc(g.Users, func(u automaton.User) bool {
		return u.Door == door && u.Kind == policy.Sequence && (place == u.ID || place>>29 == pathBits)
	})
}
