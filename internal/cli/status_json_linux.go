package cli

import (
	"time"
)

// statusJSON is what status prints for programs. Times left are in seconds; what
// is not known is null or left out.
type statusJSON struct {
	Active     bool         `json:"active"`
	Backend    string       `json:"backend,omitempty"`
	Mode       string       `json:"mode,omitempty"`
	PolicyHash string       `json:"policy_hash,omitempty"`
	Applied    *time.Time   `json:"applied,omitempty"`
	Version    string       `json:"tirl_version,omitempty"` // that loaded it
	File       string       `json:"policy_file,omitempty"`
	FileState  fileChange   `json:"policy_file_state,omitempty"` // same, changed, invalid, missing
	Doors      *int         `json:"doors,omitempty"`
	Rules      int          `json:"rules"`
	Blocked    bool         `json:"blocked"`  // by tirl block
	Drifted    bool         `json:"drifted"`  // somebody has changed the rules
	Flushed    bool         `json:"flushed"`  // the rules are gone, not by tirl remove
	Rebooted   bool         `json:"rebooted"` // and so is the kernel that held them
	Pending    *waitJSON    `json:"pending,omitempty"`
	LastWait   *endedJSON   `json:"last_wait,omitempty"`
	Others     []string     `json:"other_backends"`
	Errors     []string     `json:"errors"`
	Sources    []sourceJSON `json:"sources"`
	Grants     []grantJSON  `json:"grants"`
	Users      []userJSON   `json:"users"`
}

type sourceJSON struct {
	Source string     `json:"source"`
	TTL    uint8      `json:"ttl,omitempty"`
	State  uint32     `json:"state"`
	Done   *int       `json:"knocks_done,omitempty"`
	Doors  []doorJSON `json:"doors"` // that it may be on the way to
	Left   *float64   `json:"left_seconds"`
}

type doorJSON struct {
	Name   string `json:"name"`
	Knocks int    `json:"knocks"`
}

type grantJSON struct {
	Source   string   `json:"source"`
	Services []string `json:"services"`
	Doors    []string `json:"doors"` // one of them was knocked at
	Left     *float64 `json:"left_seconds"`
	// User and Value are by what the source came in last, if by one-time values.
	User  string  `json:"user,omitempty"`
	Value *uint64 `json:"value,omitempty"`
}

func (v *view) json() statusJSON {
	out := statusJSON{
		Active: v.Active(), Backend: v.Backend, Flushed: v.Flushed != nil, Rebooted: v.Rebooted, Drifted: v.Drifted,
		Others: append([]string{}, v.Others...), Errors: []string{}, Sources: []sourceJSON{}, Grants: []grantJSON{},
		Users: usersJSON(v.users),
	}
	for _, err := range v.Unread {
		out.Errors = append(out.Errors, err.Error())
	}
	out.Pending, out.LastWait = v.pendingJSON(), v.lastWaitJSON()
	if !v.Active() {
		return out
	}
	out.PolicyHash, out.Rules, out.Blocked = v.Loaded.PolicyHash, v.Loaded.Rules, v.Loaded.Blocked
	out.File, out.FileState = v.file, v.change
	if v.program != nil {
		n := len(v.program.Doors)
		out.Mode, out.Doors = modeName(v.program), &n
	}
	if v.Record != nil {
		out.Applied, out.Version = &v.Record.Applied, v.Record.Version
	}
	for _, s := range v.sources {
		out.Sources = append(out.Sources, s.json())
	}
	for _, g := range v.grants {
		item := grantJSON{Source: g.addr.String(), Services: []string{}, Doors: names(g.doors), Left: seconds(g.left)}
		if g.class != nil {
			item.Services = rangeNames(g.class.Services)
		}
		if by, _ := openedBy(v.users, g.addr, g.doors); by != nil {
			item.User, item.Value = by.User, &by.value
		}
		out.Grants = append(out.Grants, item)
	}
	return out
}

func (s source) json() sourceJSON {
	out := sourceJSON{Source: s.addr.String(), TTL: s.ttl, State: uint32(s.state), Doors: []doorJSON{}, Left: seconds(s.left)}
	if s.known {
		out.Done = &s.done
	}
	for _, d := range s.doors {
		out.Doors = append(out.Doors, doorJSON{d.Name, len(d.Knocks)})
	}
	return out
}

func seconds(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}
