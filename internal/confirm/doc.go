// Package confirm is the wait after a load: until somebody shows that they can
// still get in, a watchdog stands ready to take the load back.
//
// The watchdog is a process of its own, in a session of its own or a transient
// unit of systemd, started before the load, and it holds what it needs in
// memory. It ends when the wait ends. Everybody who changes the wait holds the
// lock of package apply.
//
// Under /run/tirl: pending.json names the wait; it becomes confirmed-ID.json or
// rolledback-ID.json when it is over, by rename(2), which a full disk does not
// stop. order-ID.json is what the watchdog reads when it starts.
// The file watchdog-ID is locked, flock(2), for as long as the watchdog lives.
package confirm
