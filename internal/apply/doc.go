// Package apply brings a policy's automaton into the kernel of this host, takes
// it out again, and says what is there. It knows the order of the steps, what to
// undo, and what to remember; how rules look is the backends' concern.
//
// The kernel is the truth. The record that a load leaves under /var/lib/tirl says
// where the rules came from; it is never believed against the kernel.
package apply
